import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../broker.js';
import { assertRefusal, DEADLINE_MS, drain, eventually, Inbox, publishAll, refuses, texts, World } from '../support.js';

async function filledQueue(t, bodies, options) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel, options);
  await publishAll(channel, '', queue, bodies);
  return { world, channel, queue };
}

const ready = async (channel, queue) => (await channel.checkQueue(queue)).messageCount;

test('prefetch limits what a consumer holds until it acks', async (t) => {
  const { channel, queue } = await filledQueue(t, ['1', '2', '3', '4', '5']);
  await channel.prefetch(2);
  const inbox = await Inbox.open(channel, queue);
  const [first, second] = await inbox.take(2);
  assert.equal(await ready(channel, queue), 3);
  assert.equal(inbox.messages.length, 0);
  channel.ack(first);
  assert.equal((await inbox.next()).content.toString(), '3');
  channel.ack(second);
  assert.equal((await inbox.next()).content.toString(), '4');
  assert.equal(await ready(channel, queue), 1);
});

test('a global prefetch is shared by the consumers of the channel', async (t) => {
  const { channel, queue } = await filledQueue(t, ['1', '2', '3', '4', '5', '6']);
  await channel.prefetch(3, true);
  const inbox = await Inbox.open(channel, queue);
  const other = await Inbox.open(channel, queue);
  await eventually(async () => (await ready(channel, queue)) === 3, 'three messages to be with the consumers');
  assert.equal(inbox.messages.length + other.messages.length, 3);
});

test('consumers of one queue share its messages in turn', async (t) => {
  const { world, channel, queue } = await filledQueue(t, []);
  const [one, two] = [await world.channel(), await world.channel()];
  const inboxes = [await Inbox.open(one, queue, { noAck: true }), await Inbox.open(two, queue, { noAck: true })];
  await publishAll(channel, '', queue, Array.from({ length: 20 }, (_, i) => String(i)));
  const shares = await Promise.all(inboxes.map((inbox) => inbox.take(10)));
  assert.equal(new Set(texts(shares.flat())).size, 20);
});

test('an acked message is gone and an unacked one comes back when its channel closes', async (t) => {
  const { world, channel, queue } = await filledQueue(t, ['1', '2', '3']);
  const reader = await world.channel();
  const inbox = await Inbox.open(reader, queue);
  const [, second] = await inbox.take(3);
  reader.ack(second);
  await reader.close();
  const back = [await channel.get(queue), await channel.get(queue)];
  assert.deepEqual(texts(back), ['1', '3']);
  assert.deepEqual(back.map((message) => message.fields.redelivered), [true, true]);
  assert.equal(await channel.get(queue), false);
});

test('ack all up to a message settles the earlier ones too', async (t) => {
  const { world, channel, queue } = await filledQueue(t, ['1', '2', '3', '4']);
  const reader = await world.channel();
  const messages = await (await Inbox.open(reader, queue)).take(4);
  assert.deepEqual(messages.map((message) => message.fields.redelivered), [false, false, false, false]);
  reader.ack(messages[2], true);
  await reader.close();
  assert.deepEqual(await drain(channel, queue), ['4']);
});

test('nack with requeue brings a message back, flagged, at its old place', async (t) => {
  const { channel, queue } = await filledQueue(t, ['1', '2', '3']);
  const first = await channel.get(queue);
  const second = await channel.get(queue);
  channel.nack(second, false, true);
  channel.nack(first, false, true);
  const again = [await channel.get(queue), await channel.get(queue), await channel.get(queue)];
  assert.deepEqual(texts(again), ['1', '2', '3']);
  assert.deepEqual(again.map((message) => message.fields.redelivered), [true, true, false]);
});

test('nack all with requeue returns everything outstanding', async (t) => {
  const { channel, queue } = await filledQueue(t, ['1', '2', '3']);
  const inbox = await Inbox.open(channel, queue);
  await inbox.take(3);
  await channel.cancel(inbox.consumerTag);
  channel.nackAll(true);
  assert.equal(await ready(channel, queue), 3);
});

test('reject drops a message, or requeues it', async (t) => {
  const { channel, queue } = await filledQueue(t, ['drop', 'keep']);
  channel.reject(await channel.get(queue), false);
  channel.reject(await channel.get(queue), true);
  const kept = await channel.get(queue);
  assert.equal(kept.content.toString(), 'keep');
  assert.equal(kept.fields.redelivered, true);
  channel.ack(kept);
  assert.equal(await channel.get(queue), false);
});

test('recover delivers the unacked again with new tags', async (t) => {
  const { channel, queue } = await filledQueue(t, ['1', '2']);
  const inbox = await Inbox.open(channel, queue);
  const before = await inbox.take(2);
  await channel.recover();
  const after = await inbox.take(2);
  assert.deepEqual(texts(after), ['1', '2']);
  assert.deepEqual(after.map((message) => message.fields.redelivered), [true, true]);
  const tags = [...before, ...after].map((message) => message.fields.deliveryTag);
  assert.deepEqual(tags, [1, 2, 3, 4]);
});

test('no-ack deliveries need no ack', async (t) => {
  const { world, channel, queue } = await filledQueue(t, ['1', '2']);
  const reader = await world.channel();
  await (await Inbox.open(reader, queue, { noAck: true })).take(2);
  await reader.close();
  assert.equal(await ready(channel, queue), 0);
});

test('get takes one message and tells how many are left', async (t) => {
  const { channel, queue } = await filledQueue(t, ['1', '2', '3']);
  const message = await channel.get(queue);
  assert.equal(message.content.toString(), '1');
  assert.deepEqual(message.fields, { deliveryTag: 1, redelivered: false, exchange: '', routingKey: queue, messageCount: 2 });
  await channel.purgeQueue(queue);
  assert.equal(await channel.get(queue), false);
});

test('a cancelled consumer gets nothing more and may still ack', async (t) => {
  const { channel, queue } = await filledQueue(t, ['before']);
  const inbox = await Inbox.open(channel, queue);
  const before = await inbox.next();
  const reply = await channel.cancel(inbox.consumerTag);
  assert.equal(reply.consumerTag, inbox.consumerTag);
  await publishAll(channel, '', queue, ['after']);
  channel.ack(before);
  assert.deepEqual(await drain(channel, queue), ['after']);
  assert.equal(inbox.messages.length, 0);
});

test('cancelling a consumer nobody knows is no error', async (t) => {
  const { channel } = await filledQueue(t, []);
  assert.deepEqual(await channel.cancel('nobody'), { consumerTag: 'nobody' });
});

test('a consumer is told when its queue is deleted', async (t) => {
  const { world, channel, queue } = await filledQueue(t, []);
  const inbox = await Inbox.open(await world.channel(), queue);
  await channel.deleteQueue(queue);
  assert.equal(await inbox.next('the cancel of the server'), null);
});

test('the server makes a consumer tag, or takes the one it is given', async (t) => {
  const { channel, queue } = await filledQueue(t, []);
  const made = await channel.consume(queue, () => {});
  assert.match(made.consumerTag, /^amq\.ctag-.{10,}$/);
  const given = await channel.consume(queue, () => {}, { consumerTag: 'mine' });
  assert.equal(given.consumerTag, 'mine');
});

test('an exclusive consumer keeps others away until it is cancelled', async (t) => {
  const { world, channel, queue } = await filledQueue(t, []);
  const { consumerTag } = await channel.consume(queue, () => {}, { exclusive: true });
  const inUse = `ACCESS_REFUSED - queue '${queue}' in vhost '/' in exclusive use`;
  await refuses((await world.channel()).consume(queue, () => {}), 403, inUse, [60, 20]);
  await channel.cancel(consumerTag);
  await (await world.channel()).consume(queue, () => {});
  await refuses(channel.consume(queue, () => {}, { exclusive: true }), 403, inUse, [60, 20]);
});

test('a consumer with higher priority is served first', async (t) => {
  const { world, channel, queue } = await filledQueue(t, []);
  const low = await Inbox.open(await world.channel(), queue, { noAck: true, priority: -1 });
  const high = await Inbox.open(await world.channel(), queue, { noAck: true, priority: 5 });
  await publishAll(channel, '', queue, ['1', '2', '3']);
  assert.deepEqual(texts(await high.take(3)), ['1', '2', '3']);
  assert.equal(low.messages.length, 0);
});

test('RPC over a reply queue matches answers by correlation id', async (t) => {
  const { world, channel, queue } = await filledQueue(t, []);
  const server = await world.channel(await world.connect());
  await server.prefetch(5);
  await server.consume(queue, (request) => {
    const answer = Buffer.from(String(Number(request.content) ** 2));
    server.sendToQueue(request.properties.replyTo, answer, { correlationId: request.properties.correlationId });
    server.ack(request);
  });
  const replies = await channel.assertQueue('', { exclusive: true });
  const inbox = await Inbox.open(channel, replies.queue, { noAck: true });
  for (let i = 0; i < 50; i += 1) {
    channel.sendToQueue(queue, Buffer.from(String(i)), { replyTo: replies.queue, correlationId: `call-${i}` });
  }
  const answers = new Map();
  for (const { properties, content } of await inbox.take(50)) answers.set(properties.correlationId, Number(content));
  for (let i = 0; i < 50; i += 1) assert.equal(answers.get(`call-${i}`), i * i);
});

test('acking a tag twice closes the channel', async (t) => {
  const { channel, queue } = await filledQueue(t, ['1']);
  const message = await channel.get(queue);
  channel.ack(message);
  channel.ack(message);
  const error = await within(DEADLINE_MS, channel.refused, 'the channel to be closed');
  assertRefusal(error, 406, 'PRECONDITION_FAILED - unknown delivery tag 1', [60, 80]);
});
