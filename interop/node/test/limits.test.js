// Queues that are full: what makes room, and what is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beyondRabbit, deadLettersTo, deaths, drain, Inbox, publishAll, texts, World } from '../support.js';

const LIMITS = [{ maxLength: 2 }, { arguments: { 'x-max-length-bytes': 10 } }];

async function limited(t, options) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const dead = await world.queue(channel);
  const queue = await world.queue(channel, { durable: false, ...options, ...deadLettersTo(dead) });
  return { world, channel, dead, queue };
}

/** The limit with another way to treat what is too much. */
const overflowing = (limit, way) => ({ ...limit, arguments: { ...limit.arguments, 'x-overflow': way } });

const nacked = (promise) => assert.rejects(promise, /nacked/);

test('the oldest make room', async (t) => {
  for (const limit of LIMITS) {
    const { channel, dead, queue } = await limited(t, limit);
    await publishAll(channel, '', queue, ['11111', '22222', '33333', '44444']);
    assert.deepEqual(await drain(channel, queue), ['33333', '44444']);
    const letters = await (await Inbox.open(channel, dead, { noAck: true })).take(2);
    assert.deepEqual(texts(letters), ['11111', '22222']);
    assert.deepEqual(deaths(letters[0]), [[queue, 'maxlen', 1]]);
  }
});

test('a full queue refuses until there is room', async (t) => {
  for (const limit of LIMITS) {
    const { channel, dead, queue } = await limited(t, overflowing(limit, 'reject-publish'));
    await publishAll(channel, '', queue, ['11111', '22222']);
    await nacked(publishAll(channel, '', queue, ['33333']));
    assert.equal((await channel.get(queue, { noAck: true })).content.toString(), '11111');
    await publishAll(channel, '', queue, ['44444']);
    assert.deepEqual(await drain(channel, queue), ['22222', '44444']);
    assert.deepEqual(await drain(channel, dead), []);
  }
});

test('what is refused can be a dead letter', async (t) => {
  const { channel, dead, queue } = await limited(t, overflowing({ maxLength: 1 }, 'reject-publish-dlx'));
  await publishAll(channel, '', queue, ['kept']);
  await nacked(publishAll(channel, '', queue, ['refused']));
  const letter = await (await Inbox.open(channel, dead)).next();
  assert.deepEqual([letter.content.toString(), deaths(letter)], ['refused', [[queue, 'maxlen', 1]]]);
  assert.deepEqual(await drain(channel, queue), ['kept']);
});

test('the lowest priority makes room first', { skip: beyondRabbit }, async (t) => {
  const { channel, queue } = await limited(t, { maxLength: 2, maxPriority: 9 });
  for (const priority of [1, 8, 5]) await publishAll(channel, '', queue, [String(priority)], { priority });
  assert.deepEqual(await drain(channel, queue), ['8', '5']);
});
