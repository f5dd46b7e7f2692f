// Exchanges of type x-delayed-message. On RabbitMQ these need its plugin.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Inbox, publishAll, refuses, texts, World } from '../support.js';

const TICK_MS = 2;

async function delayedExchange(world, channel, type) {
  return world.exchange(channel, 'x-delayed-message', { durable: true, arguments: { 'x-delayed-type': type } });
}

test('a message comes after its delay and shows it', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await delayedExchange(world, channel, 'fanout');
  const queue = await world.queue(channel);
  await channel.bindQueue(queue, exchange, '');
  const inbox = await Inbox.open(channel, queue, { noAck: true });
  const begin = performance.now();
  await publishAll(channel, exchange, 'key', ['later'], { headers: { 'x-delay': 200 } });
  await publishAll(channel, exchange, 'key', ['at once']);
  const [first, second] = await inbox.take(2);
  assert.ok(performance.now() - begin + TICK_MS >= 200, 'it came early');
  assert.deepEqual(texts([first, second]), ['at once', 'later']);
  assert.equal(second.properties.headers['x-delay'], -200);
  assert.equal(second.fields.routingKey, 'key');
});

test('messages come when they are due, also through another exchange', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const front = await world.exchange(channel, 'topic');
  const exchange = await delayedExchange(world, channel, 'direct');
  await channel.bindExchange(exchange, front, 'jobs.#');
  const queue = await world.queue(channel);
  await channel.bindQueue(queue, exchange, 'jobs.mail');
  const inbox = await Inbox.open(channel, queue, { noAck: true });
  const at = Date.now() + 1500;
  const dues = { third: at, second: at - 300, fourth: at + 200, first: at - 700 };
  for (const [body, due] of Object.entries(dues)) {
    channel.publish(front, 'jobs.mail', Buffer.from(body), { headers: { 'x-deliver-at': due } });
  }
  assert.deepEqual(texts(await inbox.take(4)), ['first', 'second', 'third', 'fourth']);
});

test('an exchange that delays does not delay for another one like it', async (t) => {
  const world = await World.open(t);
  const channel = await world.channel();
  const declared = delayedExchange(world, channel, 'x-delayed-message');
  await refuses(declared, 406, "'x-delayed-message' can't be used for 'x-delayed-type'", [40, 10]);
});
