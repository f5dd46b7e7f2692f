import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { within } from '../broker.js';
import { assertRefusal, DEADLINE_MS, drain, Inbox, publishAll, World } from '../support.js';

test('every publish on a confirm channel is confirmed', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel, { durable: true });
  let confirmed = 0;
  for (let i = 0; i < 1000; i += 1) {
    channel.sendToQueue(queue, Buffer.from(String(i)), { persistent: i % 2 === 0 }, (error) => {
      assert.equal(error, null);
      confirmed += 1;
    });
  }
  await within(DEADLINE_MS, channel.waitForConfirms(), 'a thousand confirms');
  assert.equal(confirmed, 1000);
  assert.equal((await channel.checkQueue(queue)).messageCount, 1000);
});

test('one queue keeps the order of one channel', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  const bodies = Array.from({ length: 500 }, (_, i) => String(i));
  await publishAll(channel, '', queue, bodies);
  assert.deepEqual(await drain(channel, queue), bodies);
});

test('a mandatory message nobody takes is returned before its confirm', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, 'direct');
  const seen = [];
  let returned;
  channel.on('return', (message) => {
    seen.push('return');
    returned = message;
  });
  const options = { mandatory: true, messageId: 'm-1', headers: { kept: 'yes' } };
  channel.publish(exchange, 'nowhere', Buffer.from('come back'), options, () => seen.push('confirm'));
  await within(DEADLINE_MS, channel.waitForConfirms(), 'the confirm');
  assert.deepEqual(seen, ['return', 'confirm']);
  const { replyCode, replyText, routingKey } = returned.fields;
  assert.deepEqual([replyCode, replyText, returned.fields.exchange, routingKey], [312, 'NO_ROUTE', exchange, 'nowhere']);
  assert.equal(returned.content.toString(), 'come back');
  assert.equal(returned.properties.messageId, 'm-1');
  assert.deepEqual(returned.properties.headers, { kept: 'yes' });
});

test('a mandatory message that finds a queue is not returned', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  channel.on('return', () => assert.fail('returned'));
  await publishAll(channel, '', queue, ['taken'], { mandatory: true });
  assert.deepEqual(await drain(channel, queue), ['taken']);
});

test('a message without a route is dropped and still confirmed', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  await publishAll(channel, 'amq.direct', world.name('nowhere'), ['gone']);
});

test('empty and 5 MiB bodies arrive unchanged', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel, { durable: true });
  const large = randomBytes(5 * 1024 * 1024);
  const inbox = await Inbox.open(channel, queue);
  await publishAll(channel, '', queue, ['', large, ''], { persistent: true });
  const [before, body, after] = await inbox.take(3);
  assert.equal(before.content.length, 0);
  assert.equal(after.content.length, 0);
  assert.equal(body.content.length, large.length);
  assert.equal(digest(body.content), digest(large));
  channel.ackAll();
  await publishAll(channel, '', queue, [large]);
  await channel.cancel(inbox.consumerTag);
});

test('bodies around the frame size arrive unchanged', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  const sizes = [1, 4087, 4088, 4089, 131063, 131064, 131065, 262128, 262129];
  const bodies = sizes.map((size) => randomBytes(size));
  await publishAll(channel, '', queue, bodies);
  for (const body of bodies) {
    const message = await channel.get(queue, { noAck: true });
    assert.equal(digest(message.content), digest(body), `${body.length} bytes`);
  }
});

test('a body split into the smallest frames arrives unchanged', async (t) => {
  const world = await World.open(t, { frameMax: 8192 });
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  const body = randomBytes(300_001);
  await publishAll(channel, '', queue, [body]);
  const message = await channel.get(queue, { noAck: true });
  assert.equal(digest(message.content), digest(body));
});

test('all properties come back as they were sent', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  const sent = {
    contentType: 'application/json; charset=utf-8',
    contentEncoding: 'gzip',
    headers: { a: 'b' },
    deliveryMode: 2,
    priority: 7,
    correlationId: 'correlation-ü',
    replyTo: 'reply.queue',
    expiration: '600000',
    messageId: 'message-1',
    timestamp: 1_700_000_000,
    type: 'order.placed',
    userId: 'guest',
    appId: 'interop',
  };
  await publishAll(channel, '', queue, ['body'], sent);
  const { properties } = await channel.get(queue, { noAck: true });
  assert.deepEqual({ ...properties, clusterId: undefined }, { ...sent, clusterId: undefined });
});

test('a message without properties comes back without any', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  await publishAll(channel, '', queue, ['bare'], { persistent: undefined });
  const { properties } = await channel.get(queue, { noAck: true });
  const set = Object.entries(properties).filter(([, value]) => value !== undefined);
  assert.deepEqual(Object.fromEntries(set), { headers: {}, ...(properties.deliveryMode && { deliveryMode: properties.deliveryMode }) });
});

test('nested header tables of every type come back as they were sent', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  const headers = everyType();
  headers.table = { ...everyType(), deeper: { list: [everyType(), [], {}], empty: {} } };
  headers.list = [1, 'two', [3, ['four']], { five: 5 }, null, true];
  await publishAll(channel, '', queue, ['body'], { headers });
  const message = await channel.get(queue, { noAck: true });
  assert.deepEqual(message.properties.headers, headers);
});

function everyType() {
  return {
    yes: true,
    no: false,
    byte: -128,
    short: -32_768,
    int: -2_147_483_648,
    long: 9_007_199_254_740_991,
    longNegative: -9_007_199_254_740_991,
    double: 3.141592653589793,
    text: 'Grüße, 世界',
    empty: '',
    nothing: null,
    bytes: Buffer.from([0, 1, 127, 128, 255]),
    timestamp: { '!': 'timestamp', value: 1_700_000_000 },
    decimal: { '!': 'decimal', value: { places: 2, digits: 31_415 } },
  };
}

test('CC and BCC reach further queues and BCC is not seen', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queues = [await world.queue(channel), await world.queue(channel), await world.queue(channel)];
  await publishAll(channel, '', queues[0], ['copied'], { CC: [queues[1]], BCC: [queues[2]] });
  for (const queue of queues) {
    const message = await channel.get(queue, { noAck: true });
    assert.equal(message.content.toString(), 'copied');
    assert.deepEqual(message.properties.headers, { CC: [queues[1]] });
  }
});

test('publishing to a missing exchange closes the channel and leaves the connection', async (t) => {
  const world = await World.open(t);
  const channel = await world.channel();
  const missing = world.name('missing');
  channel.publish(missing, 'k', Buffer.from('lost'));
  const error = await within(DEADLINE_MS, channel.refused, 'the channel to be closed');
  assertRefusal(error, 404, `NOT_FOUND - no exchange '${missing}' in vhost '/'`, [60, 40]);
  await (await world.channel()).checkExchange('amq.direct');
});

function digest(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}
