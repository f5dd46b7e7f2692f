import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drain, eventually, publishAll, refuses, World } from '../support.js';

test('a direct exchange routes on the whole key', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, 'direct');
  const [red, blue] = [await world.queue(channel), await world.queue(channel)];
  await channel.bindQueue(red, exchange, 'red');
  await channel.bindQueue(blue, exchange, 'blue');
  await channel.bindQueue(blue, exchange, 'red.dark');
  for (const key of ['red', 'blue', 'red.dark', 'green']) await publishAll(channel, exchange, key, [key]);
  assert.deepEqual(await drain(channel, red), ['red']);
  assert.deepEqual(await drain(channel, blue), ['blue', 'red.dark']);
});

test('a fanout exchange copies to every queue whatever the key', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, 'fanout');
  const queues = [await world.queue(channel), await world.queue(channel), await world.queue(channel)];
  for (const queue of queues) await channel.bindQueue(queue, exchange, 'ignored');
  await publishAll(channel, exchange, 'any', ['one']);
  await publishAll(channel, exchange, '', ['two']);
  for (const queue of queues) assert.deepEqual(await drain(channel, queue), ['one', 'two']);
});

test('a topic exchange matches one word with * and any number with #', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, 'topic');
  const keys = ['order', 'order.placed', 'order.placed.eu', 'invoice.placed', ''];
  const wanted = {
    'order.*': ['order.placed'],
    'order.#': ['order', 'order.placed', 'order.placed.eu'],
    '*.placed': ['order.placed', 'invoice.placed'],
    '#.placed.#': ['order.placed', 'order.placed.eu', 'invoice.placed'],
    '#': keys,
    '*': ['order'],
  };
  const queues = {};
  for (const pattern of Object.keys(wanted)) {
    queues[pattern] = await world.queue(channel);
    await channel.bindQueue(queues[pattern], exchange, pattern);
  }
  for (const key of keys) await publishAll(channel, exchange, key, [key]);
  for (const [pattern, bodies] of Object.entries(wanted)) {
    assert.deepEqual(await drain(channel, queues[pattern]), bodies, pattern);
  }
});

test('a queue bound twice with matching patterns gets one copy', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, 'topic');
  const queue = await world.queue(channel);
  await channel.bindQueue(queue, exchange, 'a.*');
  await channel.bindQueue(queue, exchange, '#');
  await publishAll(channel, exchange, 'a.b', ['once']);
  assert.deepEqual(await drain(channel, queue), ['once']);
});

test('a headers exchange matches all or any of the headers', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, 'headers');
  const [all, any] = [await world.queue(channel), await world.queue(channel)];
  await channel.bindQueue(all, exchange, '', { 'x-match': 'all', format: 'pdf', pages: 3 });
  await channel.bindQueue(any, exchange, '', { 'x-match': 'any', format: 'pdf', pages: 3 });
  await publishAll(channel, exchange, '', ['both'], { headers: { format: 'pdf', pages: 3, more: true } });
  await publishAll(channel, exchange, '', ['one'], { headers: { format: 'pdf', pages: 4 } });
  await publishAll(channel, exchange, '', ['none'], { headers: { format: 'odt' } });
  await publishAll(channel, exchange, '', ['bare']);
  assert.deepEqual(await drain(channel, all), ['both']);
  assert.deepEqual(await drain(channel, any), ['both', 'one']);
});

test('the default exchange reaches every queue by its name', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  await publishAll(channel, '', queue, ['hello']);
  assert.deepEqual(await drain(channel, queue), ['hello']);
});

test('an exchange bound to an exchange passes on what matches, until unbound', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const source = await world.exchange(channel, 'topic');
  const target = await world.exchange(channel, 'fanout');
  const queue = await world.queue(channel);
  await channel.bindQueue(queue, target, '');
  await channel.bindExchange(target, source, 'news.#');
  await publishAll(channel, source, 'news.local', ['passed']);
  await publishAll(channel, source, 'sport', ['stopped']);
  await channel.unbindExchange(target, source, 'news.#');
  await publishAll(channel, source, 'news.local', ['unbound']);
  assert.deepEqual(await drain(channel, queue), ['passed']);
});

test('an unbound queue gets nothing more', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const exchange = await world.exchange(channel, 'direct');
  const queue = await world.queue(channel);
  await channel.bindQueue(queue, exchange, 'k');
  await publishAll(channel, exchange, 'k', ['bound']);
  await channel.unbindQueue(queue, exchange, 'k');
  await publishAll(channel, exchange, 'k', ['unbound']);
  assert.deepEqual(await drain(channel, queue), ['bound']);
});

test('the predeclared exchanges are there', async (t) => {
  const world = await World.open(t);
  const channel = await world.channel();
  for (const name of ['amq.direct', 'amq.fanout', 'amq.topic', 'amq.headers', 'amq.match']) {
    await channel.checkExchange(name);
  }
});

test('an alternate exchange takes what nothing else matched', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const unmatched = await world.exchange(channel, 'fanout');
  const exchange = await world.exchange(channel, 'direct', { durable: false, alternateExchange: unmatched });
  const [known, lost] = [await world.queue(channel), await world.queue(channel)];
  await channel.bindQueue(known, exchange, 'known');
  await channel.bindQueue(lost, unmatched, '');
  await publishAll(channel, exchange, 'known', ['found']);
  await publishAll(channel, exchange, 'elsewhere', ['strayed']);
  assert.deepEqual(await drain(channel, known), ['found']);
  assert.deepEqual(await drain(channel, lost), ['strayed']);
});

test('a server-named queue gets a fresh amq.gen name each time', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const first = await channel.assertQueue('', { exclusive: true });
  const second = await channel.assertQueue('', { exclusive: true });
  assert.match(first.queue, /^amq\.gen-.{10,}$/);
  assert.notEqual(first.queue, second.queue);
  await publishAll(channel, '', first.queue, ['to a name of the server']);
  assert.deepEqual(await drain(channel, first.queue), ['to a name of the server']);
});

test('an exclusive queue refuses other connections and goes with its own', async (t) => {
  const world = await World.open(t);
  const owner = await world.connect();
  const name = world.name('exclusive');
  await (await world.channel(owner)).assertQueue(name, { exclusive: true });
  const locked = `cannot obtain exclusive access to locked queue '${name}' in vhost '/'`;
  await refuses((await world.channel()).checkQueue(name), 405, `RESOURCE_LOCKED - ${locked}`, [50, 10]);
  await owner.close();
  await refuses((await world.channel()).checkQueue(name), 404, `NOT_FOUND - no queue '${name}' in vhost '/'`, [50, 10]);
});

test('an auto-delete queue goes with its last consumer', async (t) => {
  const world = await World.open(t);
  const channel = await world.channel();
  const name = world.name('auto-delete');
  await channel.assertQueue(name, { autoDelete: true, durable: false });
  const first = await channel.consume(name, () => {});
  const second = await channel.consume(name, () => {});
  await channel.cancel(first.consumerTag);
  assert.equal((await channel.checkQueue(name)).consumerCount, 1);
  await channel.cancel(second.consumerTag);
  await refuses(channel.checkQueue(name), 404, `no queue '${name}'`, [50, 10]);
});

test('an auto-delete exchange goes with its last binding', async (t) => {
  const world = await World.open(t);
  const channel = await world.channel();
  const exchange = await world.exchange(channel, 'fanout', { autoDelete: true, durable: false });
  const queue = await world.queue(channel);
  await channel.bindQueue(queue, exchange, '');
  await channel.unbindQueue(queue, exchange, '');
  await refuses(channel.checkExchange(exchange), 404, `no exchange '${exchange}' in vhost '/'`, [40, 10]);
});

test('declare tells how many messages and consumers a queue has', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  await publishAll(channel, '', queue, ['1', '2', '3']);
  const state = await channel.assertQueue(queue, { durable: false });
  assert.deepEqual(state, { queue, messageCount: 3, consumerCount: 0 });
  await channel.prefetch(1);
  await channel.consume(queue, () => {});
  await eventually(async () => {
    const { messageCount, consumerCount } = await channel.checkQueue(queue);
    return messageCount === 2 && consumerCount === 1;
  }, 'one of three to be with the consumer');
});

test('purge and delete tell how many messages they removed', async (t) => {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const queue = await world.queue(channel);
  await publishAll(channel, '', queue, ['1', '2', '3']);
  assert.deepEqual(await channel.purgeQueue(queue), { messageCount: 3 });
  await publishAll(channel, '', queue, ['4', '5']);
  assert.deepEqual(await channel.deleteQueue(queue), { messageCount: 2 });
  assert.deepEqual(await channel.deleteQueue(queue), { messageCount: 0 }, 'a missing queue is deleted again');
});

test('delete if-unused and if-empty refuse what is used or full', async (t) => {
  const world = await World.open(t);
  const setup = await world.confirmChannel();
  const queue = await world.queue(setup);
  await publishAll(setup, '', queue, ['kept']);
  const full = `PRECONDITION_FAILED - queue '${queue}' in vhost '/' not empty`;
  await refuses((await world.channel()).deleteQueue(queue, { ifEmpty: true }), 406, full, [50, 40]);
  await setup.consume(queue, () => {});
  const used = `PRECONDITION_FAILED - queue '${queue}' in vhost '/' in use`;
  await refuses((await world.channel()).deleteQueue(queue, { ifUnused: true }), 406, used, [50, 40]);
  const exchange = await world.exchange(setup, 'fanout');
  await setup.bindQueue(queue, exchange, '');
  const bound = `PRECONDITION_FAILED - exchange '${exchange}' in vhost '/' in use`;
  await refuses((await world.channel()).deleteExchange(exchange, { ifUnused: true }), 406, bound, [40, 20]);
});
