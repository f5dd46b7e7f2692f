// Queues whose messages go to one consumer at a time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Inbox, publishAll, refuses, texts, World } from '../support.js';

async function single(t, options = { durable: false }) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel, { ...options, arguments: { 'x-single-active-consumer': true, ...options.arguments } });
  return { world, channel, queue };
}

test('the next in line takes over where the active consumer stopped', async (t) => {
  for (const options of [{ durable: false }, { durable: true, arguments: { 'x-queue-type': 'quorum' } }]) {
    const { world, channel, queue } = await single(t, options);
    const doomed = await world.connect();
    const reader = await world.channel(doomed);
    await reader.prefetch(2);
    const active = await Inbox.open(reader, queue);
    const next = await Inbox.open(channel, queue);
    const later = await Inbox.open(await world.channel(), queue, { priority: 0 });
    await publishAll(channel, '', queue, ['1', '2', '3']);
    assert.deepEqual(texts(await active.take(2)), ['1', '2']);
    assert.equal(next.messages.length + later.messages.length, 0);
    await doomed.close();
    const taken = await next.take(3);
    assert.deepEqual(texts(taken), ['1', '2', '3']);
    assert.deepEqual(taken.map((message) => message.fields.redelivered), [true, true, false]);
    assert.equal(later.messages.length, 0);
  }
});

test('nobody consumes from it exclusively', async (t) => {
  const { world, queue } = await single(t);
  await refuses((await world.channel()).consume(queue, () => {}, { exclusive: true }), 403, 'in exclusive use', [60, 20]);
});
