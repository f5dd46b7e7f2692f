// Exchanges and queues that take a message with the same key once. On RabbitMQ these need a plugin, which does less.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beyondRabbit, drain, eventually, Inbox, publishAll, refuses, World } from '../support.js';

const ON = { 'x-message-deduplication': true };
const skip = beyondRabbit;

const keyed = (key, headers) => ({ headers: { 'x-deduplication-header': key, ...headers } });

/** An exchange with these arguments and its queue. */
async function open(t, type, args) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, type, { durable: false, arguments: args });
  const queue = await world.queue(channel);
  await channel.bindQueue(queue, exchange, 'key');
  return { world, channel, exchange, queue };
}

for (const type of ['direct', 'topic', 'fanout']) {
  test(`a ${type} exchange takes each key once and acks all`, { skip }, async (t) => {
    const { channel, exchange, queue } = await open(t, type, ON);
    const returned = [];
    channel.on('return', (message) => returned.push(message));
    for (const [key, body] of [['1', 'a'], ['1', 'b'], ['2', 'c'], ['2', 'd']]) {
      channel.publish(exchange, 'key', Buffer.from(body), { ...keyed(key), mandatory: true });
    }
    await publishAll(channel, exchange, 'key', ['without', 'a key']);
    assert.deepEqual(await drain(channel, queue), ['a', 'c', 'without', 'a key']);
    assert.deepEqual(returned, []);
  });
}

test("the plugin's type forgets the oldest key when there are too many", { skip }, async (t) => {
  const { channel, exchange, queue } = await open(t, 'x-message-deduplication', { 'x-cache-size': 2 });
  for (const key of [1, 1, 2, 3, 3, 1]) await publishAll(channel, exchange, '', [String(key)], keyed(key));
  assert.deepEqual(await drain(channel, queue), ['1', '2', '3', '1']);
});

for (const [where, args, headers] of [['exchange', { 'x-cache-ttl': 200 }, {}], ['message', {}, { 'x-cache-ttl': 200 }]]) {
  test(`a key is forgotten when the time of its ${where} is over`, { skip }, async (t) => {
    const { channel, exchange, queue } = await open(t, 'fanout', { ...ON, ...args });
    await publishAll(channel, exchange, 'key', ['first', 'second'], keyed('1', headers));
    assert.deepEqual(await drain(channel, queue), ['first']);
    await eventually(async () => {
      await publishAll(channel, exchange, 'key', ['third'], keyed('1', headers));
      return (await drain(channel, queue)).length === 1;
    }, 'the key to be forgotten');
  });
}

test('the key can be the message id', { skip }, async (t) => {
  const { channel, exchange, queue } = await open(t, 'direct', { ...ON, 'x-deduplication-by': 'message-id' });
  for (const [messageId, body] of [['1', 'a'], ['1', 'b'], ['2', 'c']]) {
    await publishAll(channel, exchange, 'key', [body], { messageId });
  }
  assert.deepEqual(await drain(channel, queue), ['a', 'c']);
});

test('a message that was refused may come again', { skip }, async (t) => {
  const { world, channel, exchange, queue } = await open(t, 'direct', ON);
  await channel.unbindQueue(queue, exchange, 'key');
  const full = await world.queue(channel, { durable: false, maxLength: 1, arguments: { 'x-overflow': 'reject-publish' } });
  await channel.bindQueue(full, exchange, 'key');
  await publishAll(channel, exchange, 'key', ['fills it']);
  await assert.rejects(publishAll(channel, exchange, 'key', ['again'], keyed('1')), /nacked/);
  assert.deepEqual(await drain(channel, full), ['fills it']);
  await publishAll(channel, exchange, 'key', ['again'], keyed('1'));
  assert.deepEqual(await drain(channel, full), ['again']);
});

test('a queue takes each key once whatever way it comes', { skip }, async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, 'fanout');
  const queue = await world.queue(channel, { durable: false, arguments: ON });
  const other = await world.queue(channel);
  for (const bound of [queue, other]) await channel.bindQueue(bound, exchange, '');
  const returned = [];
  channel.on('return', (message) => returned.push(message));
  for (const [target, key, body] of [['', '1', 'a'], [exchange, '1', 'b'], [exchange, '2', 'c'], ['', '2', 'd']]) {
    await publishAll(channel, target, queue, [body], { ...keyed(key), mandatory: true });
  }
  assert.deepEqual(await drain(channel, queue), ['a', 'c']);
  assert.deepEqual(await drain(channel, other), ['b', 'c']);
  assert.deepEqual(returned, []);
});

test('a queue knows a key as long as it has the message', { skip }, async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel, { durable: false, arguments: { ...ON, 'x-cache-ttl': 1 } });
  await publishAll(channel, '', queue, ['first'], keyed('1'));
  const inbox = await Inbox.open(channel, queue);
  const first = await inbox.next();
  const end = performance.now() + 100;
  while (performance.now() < end) await publishAll(channel, '', queue, ['second'], keyed('1'));
  channel.ack(first);
  await eventually(async () => {
    await publishAll(channel, '', queue, ['third'], keyed('1'));
    return inbox.messages.length > 0;
  }, 'the key to be free');
  assert.equal((await inbox.next()).content.toString(), 'third');
});

test('impossible arguments are refused', { skip }, async (t) => {
  const world = await World.open(t);
  for (const args of [{ 'x-cache-size': 0 }, { 'x-cache-ttl': -1 }, { 'x-deduplication-by': 'body' }]) {
    const declared = world.exchange(await world.channel(), 'direct', { durable: false, arguments: { ...ON, ...args } });
    await refuses(declared, 406, Object.keys(args)[0], [40, 10]);
  }
});
