// Queues with priorities, and consumers with them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drain, Inbox, publishAll, refuses, texts, World } from '../support.js';

async function withOptions(t, options) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  return { world, channel, queue: await world.queue(channel, options) };
}

test('the highest priority goes first and each keeps its order', async (t) => {
  const { channel, queue } = await withOptions(t, { durable: true, maxPriority: 5 });
  for (const [body, priority] of [['none', undefined], ['1a', 1], ['5a', 5], ['1b', 1], ['9 is 5', 9], ['3', 3]]) {
    await publishAll(channel, '', queue, [body], { priority, persistent: true });
  }
  assert.deepEqual(await drain(channel, queue), ['5a', '9 is 5', '3', '1a', '1b', 'none']);
});

test('a message that comes back keeps its place', async (t) => {
  const { channel, queue } = await withOptions(t, { durable: false, maxPriority: 2 });
  for (const [body, priority] of [['2a', 2], ['2b', 2], ['1', 1]]) await publishAll(channel, '', queue, [body], { priority });
  channel.nack(await channel.get(queue));
  assert.deepEqual(await drain(channel, queue), ['2a', '2b', '1']);
});

test('there are 255 levels above the lowest', async (t) => {
  const world = await World.open(t);
  const channel = await world.channel();
  const reason = '{max_value_exceeded,256}';
  await refuses(channel.assertQueue(world.name(), { durable: false, maxPriority: 256 }), 406, reason, [50, 10]);
});

test('lower consumers get what the higher have no room for', async (t) => {
  const { world, channel, queue } = await withOptions(t, { durable: false });
  const open = async (priority) => {
    const reader = await world.channel();
    await reader.prefetch(2);
    return [reader, await Inbox.open(reader, queue, { priority })];
  };
  const [, low] = await open(-1);
  const [reader, high] = await open(10);
  await publishAll(channel, '', queue, ['0', '1', '2', '3']);
  const first = await high.take(2);
  assert.deepEqual([texts(first), texts(await low.take(2))], [['0', '1'], ['2', '3']]);
  reader.ackAll();
  await publishAll(channel, '', queue, ['4']);
  assert.deepEqual(texts([await high.next()]), ['4']);
});
