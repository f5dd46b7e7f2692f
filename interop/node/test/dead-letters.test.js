// Where messages go that failed, what they tell of it, and how often they come back before.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isExternal } from '../broker.js';
import { beyondRabbit, deadLettersTo, deaths, drain, eventually, Inbox, publishAll, texts, World } from '../support.js';

async function withDeadLetters(t, options) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const dead = await world.queue(channel);
  const queue = await world.queue(channel, { durable: true, ...options, ...deadLettersTo(dead) });
  const ended = await Inbox.open(await world.channel(), dead, { noAck: true });
  return { world, channel, dead, queue, ended };
}

const QUORUM = { 'x-queue-type': 'quorum' };
const DEATHS = [
  ['rejected', {}, (channel, message) => channel.reject(message, false)],
  ['expired', { messageTtl: 20 }],
  ['maxlen', { maxLength: 0 }],
  ['delivery_limit', { arguments: { ...QUORUM, 'x-delivery-limit': 0 } }, (channel, message) => channel.reject(message, true)],
];

for (const [reason, options, refuse] of DEATHS) {
  test(`a dead letter tells where and why it died: ${reason}`, async (t) => {
    const { channel, dead, queue, ended } = await withDeadLetters(t, options);
    const inbox = refuse && (await Inbox.open(channel, queue));
    await publishAll(channel, '', queue, ['job'], { messageId: 'm-1', persistent: true, headers: { mine: 'kept' } });
    if (refuse) refuse(channel, await inbox.next());
    const letter = await ended.next();
    assert.equal(letter.content.toString(), 'job');
    assert.deepEqual([letter.fields.exchange, letter.fields.routingKey, letter.fields.redelivered], ['', dead, false]);
    assert.deepEqual([letter.properties.messageId, letter.properties.deliveryMode], ['m-1', 2]);
    const { 'x-death': [{ time, ...death }, ...others], ...headers } = letter.properties.headers;
    assert.deepEqual(others, []);
    assert.equal(time['!'], 'timestamp');
    assert.deepEqual(death, { count: 1, reason, queue, exchange: '', 'routing-keys': [queue] });
    assert.equal(headers.mine, 'kept');
    assert.deepEqual([headers['x-first-death-queue'], headers['x-first-death-reason'], headers['x-first-death-exchange']], [queue, reason, '']);
    // RabbitMQ before 3.13 tells of the first death only.
    if (!isExternal) {
      assert.deepEqual([headers['x-last-death-queue'], headers['x-last-death-reason'], headers['x-last-death-exchange']], [queue, reason, '']);
    }
  });
}

test('a retry queue brings a message back and counts', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const parking = world.name('parking');
  const work = await world.queue(channel, { durable: true, ...deadLettersTo(parking) });
  await world.queue(channel, { durable: true, messageTtl: 20, ...deadLettersTo(work) }, parking);
  const inbox = await Inbox.open(channel, work);
  await publishAll(channel, '', work, ['job'], { persistent: true });
  channel.nack(await inbox.next(), false, false);
  for (let round = 1; round <= 3; round += 1) {
    const message = await inbox.next();
    assert.deepEqual(deaths(message), [[parking, 'expired', round], [work, 'rejected', round]]);
    channel.nack(message, false, false);
  }
});

for (const [label, type, skip] of [['quorum', QUORUM, false], ['classic', {}, beyondRabbit]]) {
  test(`a message that fails too often is dead: ${label}`, { skip }, async (t) => {
    const { channel, queue, ended } = await withDeadLetters(t, { arguments: { ...type, 'x-delivery-limit': 2 } });
    const inbox = await Inbox.open(channel, queue);
    await publishAll(channel, '', queue, ['poison'], { persistent: true });
    for (let returns = 0; returns <= 2; returns += 1) {
      const message = await inbox.next();
      assert.equal(message.properties.headers['x-delivery-count'] ?? 0, returns);
      assert.equal(message.fields.redelivered, returns > 0);
      channel.reject(message, true);
    }
    assert.deepEqual(deaths(await ended.next()), [[queue, 'delivery_limit', 1]]);
    assert.equal(inbox.messages.length, 0);
  });
}

test('at least once they wait until somebody takes them', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const overflow = { 'x-overflow': 'reject-publish' };
  const dead = await world.queue(channel, { durable: false, maxLength: 1, arguments: overflow });
  const strategy = { ...QUORUM, ...overflow, 'x-dead-letter-strategy': 'at-least-once' };
  const queue = await world.queue(channel, { durable: true, arguments: strategy, ...deadLettersTo(dead) });
  const hasOne = async () => (await channel.checkQueue(dead)).messageCount === 1;
  const inbox = await Inbox.open(channel, queue);
  for (const body of ['1', '2']) {
    await publishAll(channel, '', queue, [body], { persistent: true });
    channel.reject(await inbox.next(), false);
    await eventually(hasOne, 'the first dead letter');
  }
  assert.deepEqual(await drain(channel, dead), ['1']);
  // It is offered again every ten seconds.
  await eventually(hasOne, 'the second dead letter', 20_000);
  const letter = await channel.get(dead, { noAck: true });
  assert.deepEqual([texts([letter]), deaths(letter)], [['2'], [[queue, 'rejected', 1]]]);
});
