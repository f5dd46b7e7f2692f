// Quorum queues, and arguments that choose a way of storing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../broker.js';
import { assertRefusal, beyondRabbit, DEADLINE_MS, drain, publishAll, refuses, World } from '../support.js';

const QUORUM = { 'x-queue-type': 'quorum' };

async function open(t) {
  const world = await World.open(t);
  return { world, channel: await world.confirmChannel() };
}

test('a quorum queue is a durable queue with a name', async (t) => {
  const { world, channel } = await open(t);
  const queue = await world.queue(channel, { durable: true, arguments: QUORUM });
  await publishAll(channel, '', queue, ['1', '2'], { persistent: true });
  await channel.assertQueue(queue, { durable: true, arguments: QUORUM });
  assert.deepEqual(await drain(channel, queue), ['1', '2']);
  for (const [options, property] of [
    [{ durable: false }, 'non-durable'],
    [{ durable: true, autoDelete: true }, 'auto-delete'],
    [{ durable: true, exclusive: true }, 'exclusive-owner'],
  ]) {
    const declared = (await world.channel()).assertQueue(world.name(), { ...options, arguments: QUORUM });
    await refuses(declared, 406, `PRECONDITION_FAILED - invalid property '${property}' for queue`, [50, 10]);
  }
  const unnamed = (await world.channel()).assertQueue('', { durable: true, arguments: QUORUM });
  await refuses(unnamed, 406, 'Cannot declare a server-named queue for type rabbit_quorum_queue', [50, 10]);
});

test('a quorum queue has no channel-wide prefetch', async (t) => {
  const { world, channel } = await open(t);
  const queue = await world.queue(channel, { durable: true, arguments: QUORUM });
  const other = await world.connect();
  const limited = await world.channel(other);
  await limited.prefetch(1, true);
  limited.consume(queue, () => {}).catch(() => {});
  const error = await within(DEADLINE_MS, other.failed, 'the connection to be closed');
  assertRefusal(error, 540, `NOT_IMPLEMENTED - queue '${queue}' in vhost '/' does not support global qos`);
});

test('arguments that choose a way of storing are accepted', async (t) => {
  const { world, channel } = await open(t);
  for (const args of [
    { 'x-queue-mode': 'lazy' },
    { 'x-queue-type': 'classic', 'x-queue-version': 2 },
    { 'x-queue-master-locator': 'min-masters', 'x-ha-policy': 'all' },
    { ...QUORUM, 'x-quorum-initial-group-size': 3, 'x-queue-leader-locator': 'balanced' },
    { ...QUORUM, 'x-max-in-memory-length': 10, 'x-max-in-memory-bytes': 1000 },
  ]) {
    const queue = await world.queue(channel, { durable: true, arguments: args });
    await publishAll(channel, '', queue, ['1', '2', '3'], { persistent: true });
    await channel.assertQueue(queue, { durable: true, arguments: args });
    assert.deepEqual(await drain(channel, queue), ['1', '2', '3']);
  }
});

test('arguments of another type are refused', async (t) => {
  const { world } = await open(t);
  for (const [args, text] of [
    [{ 'x-queue-type': 'foo' }, "invalid arg 'x-queue-type' for queue"],
    [{ 'x-max-age': '1D' }, 'of queue type rabbit_classic_queue'],
    [{ ...QUORUM, 'x-queue-mode': 'lazy' }, 'of queue type rabbit_quorum_queue'],
  ]) {
    await refuses((await world.channel()).assertQueue(world.name(), { durable: true, arguments: args }), 406, text, [50, 10]);
  }
});

test('there are no streams yet', { skip: beyondRabbit }, async (t) => {
  const { world, channel } = await open(t);
  const declared = channel.assertQueue(world.name(), { durable: true, arguments: { 'x-queue-type': 'stream' } });
  await refuses(declared, 406, 'this broker has no streams yet', [50, 10]);
});
