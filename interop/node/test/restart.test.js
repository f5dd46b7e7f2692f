import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import amqp from 'amqplib';
import { Broker, isExternal, within } from '../broker.js';
import { address, DEADLINE_MS, Inbox, publishAll, refuses, texts, World } from '../support.js';

const skip = isExternal && 'the broker is not ours to kill';
let broker;

before(async () => {
  if (!skip) broker = await new Broker(1).start();
});
after(async () => {
  if (!skip) await broker.stop();
});

test('durable messages survive kill -9 in order, the unacked flagged', { skip }, async (t) => {
  const world = await World.open(t, { broker });
  const publisher = await world.confirmChannel();
  const exchange = await world.exchange(publisher, 'topic', { durable: true });
  const queue = await world.queue(publisher, { durable: true });
  await publisher.bindQueue(queue, exchange, 'order.#');
  const bodies = Array.from({ length: 100 }, (_, i) => String(i));
  await publishAll(publisher, exchange, 'order.placed', bodies, { persistent: true, headers: { nested: { list: [1, 'two'] } } });
  await publishAll(publisher, exchange, 'order.placed', ['transient'], { persistent: false });
  const reader = await world.channel();
  await reader.prefetch(10);
  const held = await (await Inbox.open(reader, queue)).take(10);
  await broker.kill();
  await within(DEADLINE_MS, world.connection.closed, 'the client to notice');

  await broker.start();
  world.connection = await world.connect();
  const channel = await world.confirmChannel();
  const back = await (await Inbox.open(channel, queue)).take(100);
  assert.deepEqual(texts(back), bodies);
  for (const message of back.slice(0, held.length)) assert.equal(message.fields.redelivered, true);
  assert.deepEqual(back[50].properties.headers, { nested: { list: [1, 'two'] } });
  assert.equal(back[50].properties.deliveryMode, 2);
  channel.ackAll();
  await publishAll(channel, exchange, 'order.paid', ['the binding is still there'], { persistent: true });
  assert.equal((await channel.checkQueue(queue)).consumerCount, 1);
});

test('transient messages and queues are gone after kill -9', { skip }, async (t) => {
  const world = await World.open(t, { broker });
  const publisher = await world.confirmChannel();
  const durable = await world.queue(publisher, { durable: true });
  const transient = await world.queue(publisher, { durable: false });
  const exchange = await world.exchange(publisher, 'fanout', { durable: false });
  await publishAll(publisher, '', durable, ['kept'], { persistent: true });
  await publishAll(publisher, '', durable, ['lost'], { persistent: false });
  await broker.kill();
  await broker.start();
  world.connection = await world.connect();
  const channel = await world.channel();
  assert.equal((await channel.get(durable, { noAck: true })).content.toString(), 'kept');
  assert.equal(await channel.get(durable), false);
  await refuses((await world.channel()).checkQueue(transient), 404, 'NOT_FOUND', [50, 10]);
  await refuses((await world.channel()).checkExchange(exchange), 404, 'NOT_FOUND', [40, 10]);
});

test('a large message survives kill -9', { skip }, async (t) => {
  const world = await World.open(t, { broker });
  const publisher = await world.confirmChannel();
  const queue = await world.queue(publisher, { durable: true });
  const large = Buffer.alloc(5 * 1024 * 1024, 'leveret ');
  await publishAll(publisher, '', queue, [large, ''], { persistent: true });
  await broker.kill();
  await broker.start();
  world.connection = await world.connect();
  const channel = await world.channel();
  assert.ok((await channel.get(queue, { noAck: true })).content.equals(large));
  assert.equal((await channel.get(queue, { noAck: true })).content.length, 0);
});

test("amqplib's own recovery finds the broker again and consumes on", { skip }, async (t) => {
  const name = `node-${process.pid}-recovery`;
  const inbox = new Inbox();
  const setup = async (connection) => {
    const channel = await connection.createChannel();
    await channel.assertQueue(name, { durable: true });
    await channel.consume(name, (message) => {
      channel.ack(message);
      inbox.put(message);
    });
  };
  const recovery = { setup, initialDelay: 20, maxDelay: 200 };
  const consumer = await amqp.connect(address({ broker }), { recovery });
  consumer.on('error', () => {});
  t.after(() => consumer.close());

  const world = await World.open(t, { broker });
  world.queues.push(name);
  await publishAll(await world.confirmChannel(), '', name, ['before'], { persistent: true });
  assert.equal((await inbox.next()).content.toString(), 'before');
  await broker.kill();
  await broker.start();
  world.connection = await world.connect();
  await publishAll(await world.confirmChannel(), '', name, ['after'], { persistent: true });
  let message = await inbox.next('the message after the restart');
  // The ack of the first one may not have reached the disk before the kill.
  while (message.content.toString() === 'before') {
    assert.equal(message.fields.redelivered, true);
    message = await inbox.next('the message after the restart');
  }
  assert.equal(message.content.toString(), 'after');
});

test('SIGTERM closes the connections with 320 and keeps durable messages', { skip }, async (t) => {
  const world = await World.open(t, { broker });
  const publisher = await world.confirmChannel();
  const queue = await world.queue(publisher, { durable: true });
  await publishAll(publisher, '', queue, ['kept'], { persistent: true });
  const reason = new Promise((resolve) => world.connection.once('close', resolve));
  await broker.stop();
  assert.equal((await within(DEADLINE_MS, reason, 'the close'))?.code, 320);
  await broker.start();
  world.connection = await world.connect();
  const message = await (await world.channel()).get(queue, { noAck: true });
  assert.equal(message.content.toString(), 'kept');
});
