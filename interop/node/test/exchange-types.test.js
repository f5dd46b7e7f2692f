// Exchange types that choose one of their bindings, or remember. On RabbitMQ these need its plugins.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beyondRabbit, drain, Inbox, publishAll, refuses, texts, World } from '../support.js';

const QUEUES = 4;
const KEYS = 80;
const keys = Array.from({ length: KEYS }, (_, number) => `key-${number}`);

async function open(t, type, args) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, type, { durable: false, arguments: args });
  return { world, channel, exchange };
}

async function boundQueue({ world, channel, exchange }, key = '') {
  const queue = await world.queue(channel);
  await channel.bindQueue(queue, exchange, key);
  return queue;
}

async function boundQueues(opened, key) {
  const queues = [];
  while (queues.length < QUEUES) queues.push(await boundQueue(opened, key));
  return queues;
}

/** What each of the queues holds, taken out. */
async function shares(channel, queues) {
  const taken = [];
  for (const queue of queues) taken.push(await drain(channel, queue));
  return taken;
}

/** Publishes under many keys; which of them each queue got. Each key goes to one queue, each queue gets some. */
async function spread({ channel, exchange }, queues) {
  for (const key of keys) channel.publish(exchange, key, Buffer.from(key));
  await channel.waitForConfirms();
  const taken = await shares(channel, queues);
  assert.deepEqual(taken.flat().sort(), keys.toSorted());
  assert.ok(taken.every((share) => share.length > 0), JSON.stringify(taken));
  return taken;
}

for (const [type, key] of [['x-consistent-hash', '10'], ['x-modulus-hash', 'any']]) {
  test(`${type} sends the same key to the same queue`, async (t) => {
    const opened = await open(t, type);
    const queues = await boundQueues(opened, key);
    assert.deepEqual(await spread(opened, queues), await spread(opened, queues));
  });
}

test('a consistent hash moves only the keys of a queue that goes', { skip: beyondRabbit }, async (t) => {
  const opened = await open(t, 'x-consistent-hash');
  const queues = await boundQueues(opened, '10');
  const before = await spread(opened, queues);
  await opened.channel.deleteQueue(queues.at(-1));
  const after = await spread(opened, queues.slice(0, -1));
  after.forEach((share, at) => assert.ok(before[at].every((key) => share.includes(key)), `${before[at]} became ${share}`));
});

test('a consistent hash heeds weights, which are positive numbers', async (t) => {
  const opened = await open(t, 'x-consistent-hash');
  const { channel, exchange } = opened;
  const light = await boundQueue(opened, '1');
  const heavy = await boundQueue(opened, '50');
  for (let number = 0; number < 500; number += 1) channel.publish(exchange, String(number), Buffer.from('x'));
  await channel.waitForConfirms();
  const [few, many] = (await shares(channel, [light, heavy])).map((share) => share.length);
  assert.equal(few + many, 500);
  assert.ok(few < 100, `a queue of one part in 51 has ${few} of 500`);
  await refuses(channel.bindQueue(light, exchange, 'much'), 406, 'The binding key must be', [50, 20]);
});

for (const args of [{ 'hash-header': 'customer' }, { 'hash-property': 'message_id' }]) {
  test(`a consistent hash can be of ${JSON.stringify(args)}`, async (t) => {
    const opened = await open(t, 'x-consistent-hash', args);
    const { channel, exchange } = opened;
    const queues = await boundQueues(opened, '1');
    for (const order of ['first', 'second']) {
      for (const customer of keys) {
        channel.publish(exchange, order, Buffer.from(customer), { messageId: customer, headers: { customer } });
      }
    }
    await channel.waitForConfirms();
    const taken = await shares(channel, queues);
    assert.equal(taken.flat().length, 2 * KEYS);
    for (const share of taken) {
      assert.ok(share.length > 0);
      assert.deepEqual(share.slice(0, share.length / 2), share.slice(share.length / 2), 'both of a customer are in one queue');
    }
  });
}

for (const [type, skip] of [['x-random', false], ['x-local-random', beyondRabbit]]) {
  test(`${type} chooses a queue for each message`, { skip }, async (t) => {
    const opened = await open(t, type);
    const queues = await boundQueues(opened);
    await publishAll(opened.channel, opened.exchange, 'the same', keys);
    const taken = await shares(opened.channel, queues);
    assert.deepEqual(taken.flat().sort(), keys.toSorted());
    assert.ok(taken.every((share) => share.length > 0), JSON.stringify(taken));
  });
}

test('a queue that is bound late gets the last messages', async (t) => {
  const opened = await open(t, 'x-recent-history', { 'x-recent-history-length': 2 });
  const { channel, exchange } = opened;
  await publishAll(channel, exchange, 'the key', ['1', '2', '3'], { messageId: 'kept' });
  await publishAll(channel, exchange, 'the key', ['not kept'], { headers: { 'x-recent-history-no-store': true } });
  const inbox = await Inbox.open(channel, await boundQueue(opened), { noAck: true });
  const history = await inbox.take(2);
  await publishAll(channel, exchange, 'the key', ['4']);
  assert.deepEqual(texts([...history, await inbox.next()]), ['2', '3', '4']);
  assert.deepEqual([history[0].fields.routingKey, history[0].properties.messageId], ['the key', 'kept']);
});

test('an exchange that is bound late gets them too', async (t) => {
  const opened = await open(t, 'x-recent-history', { 'x-recent-history-length': 2 });
  const { world, channel, exchange } = opened;
  await publishAll(channel, exchange, 'red', ['1', '2', '3']);
  const front = await world.exchange(channel, 'topic');
  const queue = await boundQueue({ world, channel, exchange: front }, 'r*');
  const reds = await boundQueue({ world, channel, exchange: front }, 'red');
  await channel.bindExchange(front, exchange, '');
  assert.deepEqual(await shares(channel, [queue, reds]), [[], ['2', '3']]);
});
