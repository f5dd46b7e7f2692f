// Messages that rest before they come back, and deliveries that are late. RabbitMQ has neither on classic queues.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beyondRabbit, drain, eventually, Inbox, publishAll, texts, World } from '../support.js';

const skip = beyondRabbit;

async function withArguments(t, args) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel, { durable: true, arguments: args });
  return { world, channel, queue };
}

const resting = (kind, min, max) => ({ 'x-delayed-retry-type': kind, 'x-delayed-retry-min': min, 'x-delayed-retry-max': max });

test('each rest is longer, up to the longest', { skip }, async (t) => {
  const { channel, queue } = await withArguments(t, resting('all', 100, 250));
  const inbox = await Inbox.open(channel, queue);
  await publishAll(channel, '', queue, ['job'], { persistent: true });
  let message = await inbox.next();
  for (const rest of [100, 200, 250, 250]) {
    const returned = performance.now();
    channel.nack(message);
    message = await inbox.next();
    assert.ok(performance.now() - returned >= rest, `it rested for less than ${rest} ms`);
  }
});

test('only the named returns rest', { skip }, async (t) => {
  const verbs = {
    failed: (channel, message) => channel.reject(message, true),
    returned: (channel, message) => channel.nack(message, false, true),
  };
  for (const [kind, other] of [['failed', 'returned'], ['returned', 'failed']]) {
    const { channel, queue } = await withArguments(t, resting(kind, 60_000, 60_000));
    const inbox = await Inbox.open(channel, queue);
    await publishAll(channel, '', queue, ['rests']);
    verbs[kind](channel, await inbox.next());
    await publishAll(channel, '', queue, ['comes back']);
    verbs[other](channel, await inbox.next());
    assert.deepEqual(texts([await inbox.next()]), ['comes back']);
    assert.equal(inbox.messages.length, 0);
  }
});

test('a late delivery goes to another consumer and its channel lives', { skip }, async (t) => {
  const { world, channel, queue } = await withArguments(t, { 'x-consumer-timeout': 100 });
  const reader = await world.channel();
  await reader.prefetch(1);
  const stuck = await Inbox.open(reader, queue);
  await publishAll(channel, '', queue, ['1'], { persistent: true });
  const late = await stuck.next();
  const healthy = await Inbox.open(channel, queue, { noAck: true });
  const [again] = await healthy.take(1);
  assert.deepEqual([again.content.toString(), again.fields.redelivered], ['1', true]);
  await channel.cancel(healthy.consumerTag);
  reader.ack(late);
  await reader.checkQueue(queue);
  await publishAll(channel, '', queue, ['2'], { persistent: true });
  const next = await stuck.next();
  assert.equal(next.content.toString(), '2');
});

test('a consumer may name its own time', { skip }, async (t) => {
  const { world, channel, queue } = await withArguments(t, { 'x-consumer-timeout': 60_000 });
  const reader = await world.channel();
  await reader.prefetch(1);
  const stuck = await Inbox.open(reader, queue, { arguments: { 'x-consumer-timeout': 100 } });
  await publishAll(channel, '', queue, ['job']);
  await stuck.next();
  await eventually(async () => (await channel.checkQueue(queue)).messageCount === 1, 'the late delivery to be back');
  assert.deepEqual(await drain(channel, queue), ['job']);
});

test('a late single active consumer is cancelled and replaced', { skip }, async (t) => {
  const { world, channel, queue } = await withArguments(t, { 'x-single-active-consumer': true });
  const active = await Inbox.open(await world.channel(), queue, { arguments: { 'x-consumer-timeout': 100 } });
  const waiting = await Inbox.open(await world.channel(), queue);
  await publishAll(channel, '', queue, ['job']);
  await active.next();
  assert.deepEqual(texts([await waiting.next()]), ['job']);
  assert.equal(await active.next('the cancel of the server'), null);
});
