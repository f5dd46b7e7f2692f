// Messages and queues that end because of time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../broker.js';
import { beyondRabbit, DEADLINE_MS, deadLettersTo, deaths, drain, eventually, Inbox, publishAll, texts, World } from '../support.js';

const SOON = 50;
const LATER = 60_000;

/** A queue with these options, a queue for its dead letters, and an inbox of the latter. */
async function mortal(t, options = {}) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const dead = await world.queue(channel);
  const queue = await world.queue(channel, { durable: false, ...options, ...deadLettersTo(dead) });
  const ended = await Inbox.open(channel, dead, { noAck: true });
  return { world, channel, queue, ended };
}

test('the smaller of the times of queue and message counts', async (t) => {
  for (const [messageTtl, expiration] of [[SOON, LATER], [LATER, SOON], [SOON, undefined], [undefined, SOON]]) {
    const { channel, queue, ended } = await mortal(t, { messageTtl });
    await publishAll(channel, '', queue, ['brief'], { expiration });
    const letter = await ended.next();
    assert.deepEqual(deaths(letter), [[queue, 'expired', 1]]);
    assert.equal(letter.properties.expiration, undefined);
    assert.equal(letter.properties.headers['x-death'][0]['original-expiration'], expiration && String(expiration));
  }
});

test('without a place to go they vanish', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel, { durable: true, messageTtl: SOON });
  await publishAll(channel, '', queue, ['1', '2'], { persistent: true });
  await eventually(async () => (await channel.checkQueue(queue)).messageCount === 0, 'the queue to be empty');
});

test('a message expires behind one that stays', { skip: beyondRabbit }, async (t) => {
  const { channel, queue, ended } = await mortal(t);
  await publishAll(channel, '', queue, ['stays']);
  await publishAll(channel, '', queue, ['goes'], { expiration: SOON });
  await publishAll(channel, '', queue, ['stays too'], { expiration: LATER });
  assert.deepEqual(texts([await ended.next()]), ['goes']);
  assert.deepEqual(await drain(channel, queue), ['stays', 'stays too']);
});

test('with no time at all a message is for a waiting consumer or nobody', async (t) => {
  const { world, channel, queue, ended } = await mortal(t);
  await publishAll(channel, '', queue, ['nobody waits'], { expiration: 0 });
  assert.deepEqual(texts([await ended.next()]), ['nobody waits']);
  const prompt = await Inbox.open(await world.channel(), queue, { noAck: true });
  await publishAll(channel, '', queue, ['somebody waits'], { expiration: 0 });
  assert.deepEqual(texts([await prompt.next()]), ['somebody waits']);
});

test('a queue goes when it is not used, and stays while it is', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const used = await world.queue(channel, { durable: false, expires: 500 });
  const inbox = await Inbox.open(channel, used, { noAck: true });
  const unused = await world.queue(channel, { durable: false, expires: 1_000 });
  // A passive declare would use the queue; a publish does not.
  let returned;
  channel.on('return', ({ fields }) => {
    returned = fields.routingKey;
  });
  const isGone = async (queue) => {
    returned = undefined;
    channel.sendToQueue(queue, Buffer.from('?'), { mandatory: true });
    await within(DEADLINE_MS, channel.waitForConfirms(), 'a confirm');
    return returned === queue;
  };
  await eventually(() => isGone(unused), 'the unused queue to go');
  assert.equal(await isGone(used), false);
  await channel.cancel(inbox.consumerTag);
  await eventually(() => isGone(used), 'the queue to go that was used');
});
