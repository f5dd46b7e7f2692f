import assert from 'node:assert/strict';
import { test } from 'node:test';
import amqp from 'amqplib';
import { isExternal, within } from '../broker.js';
import { accessText, address, assertRefusal, DEADLINE_MS, refuses, World } from '../support.js';

const reservedQueue = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'";

async function refusalOf(overrides) {
  const connecting = amqp.connect(address(overrides)).then(() => assert.fail('connected'), (error) => error);
  return within(DEADLINE_MS, connecting, 'a refusal');
}

test('404: what uses a missing queue or exchange names it', async (t) => {
  const world = await World.open(t);
  const name = world.name('missing');
  const queue = `NOT_FOUND - no queue '${name}' in vhost '/'`;
  const exchange = `NOT_FOUND - no exchange '${name}' in vhost '/'`;
  await refuses((await world.channel()).checkQueue(name), 404, queue, [50, 10]);
  await refuses((await world.channel()).bindQueue(name, 'amq.direct', 'k'), 404, queue, [50, 20]);
  await refuses((await world.channel()).purgeQueue(name), 404, queue, [50, 30]);
  await refuses((await world.channel()).consume(name, () => {}), 404, queue, [60, 20]);
  await refuses((await world.channel()).get(name), 404, queue, [60, 70]);
  await refuses((await world.channel()).checkExchange(name), 404, exchange, [40, 10]);
  await refuses((await world.channel()).bindExchange('amq.fanout', name, ''), 404, exchange, [40, 30]);
});

test('405: a queue redeclared as exclusive is locked', async (t) => {
  const world = await World.open(t);
  const queue = await world.queue(await world.channel());
  const text = `RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '${queue}' in vhost '/'`;
  await refuses((await world.channel()).assertQueue(queue, { durable: false, exclusive: true }), 405, text, [50, 10]);
});

test('406: a queue redeclared differently says what differs', async (t) => {
  const world = await World.open(t);
  const queue = await world.queue(await world.channel(), { durable: false, messageTtl: 1000 });
  const start = `PRECONDITION_FAILED - inequivalent arg`;
  const where = `for queue '${queue}' in vhost '/': received`;
  const redeclare = async (options) => (await world.channel()).assertQueue(queue, options);
  await refuses(redeclare({ durable: true, messageTtl: 1000 }), 406, `${start} 'durable' ${where} 'true' but current is 'false'`, [50, 10]);
  await refuses(redeclare({ durable: false, messageTtl: 5000 }), 406, `${start} 'x-message-ttl' ${where} '5000' but current is '1000'`, [50, 10]);
  await refuses(redeclare({ durable: false }), 406, `${start} 'x-message-ttl' ${where} none but current is the value '1000' of type 'short'`, [50, 10]);
  await redeclare({ durable: false, messageTtl: 1000 });
});

test('406: an exchange redeclared as another type says so', async (t) => {
  const world = await World.open(t);
  const exchange = await world.exchange(await world.channel(), 'direct');
  const text = `PRECONDITION_FAILED - inequivalent arg 'type' for exchange '${exchange}' in vhost '/': received 'topic' but current is 'direct'`;
  await refuses((await world.channel()).assertExchange(exchange, 'topic', { durable: false }), 406, text, [40, 10]);
});

test('406: an unknown exchange type closes the channel', { skip: isExternal && 'RabbitMQ before 3.13 closes the connection' }, async (t) => {
  const world = await World.open(t);
  const text = "PRECONDITION_FAILED - unknown exchange type 'x-nonsense'";
  await refuses((await world.channel()).assertExchange(world.name('odd'), 'x-nonsense'), 406, text, [40, 10]);
});

test('406: an expiration that is no number closes the channel', async (t) => {
  const world = await World.open(t);
  const channel = await world.channel();
  channel.publish('amq.direct', 'k', Buffer.from('x'), { expiration: 'soon' });
  const error = await within(DEADLINE_MS, channel.refused, 'the channel to be closed');
  assertRefusal(error, 406, "PRECONDITION_FAILED - invalid expiration 'soon': no_integer", [60, 40]);
});

test('406: a user id that is not the own closes the channel', async (t) => {
  const world = await World.open(t);
  const channel = await world.channel();
  channel.publish('amq.direct', 'k', Buffer.from('x'), { userId: 'somebody' });
  const error = await within(DEADLINE_MS, channel.refused, 'the channel to be closed');
  const text = "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'";
  assertRefusal(error, 406, text, [60, 40]);
});

test('403: names that start with amq. and the default exchange are reserved', async (t) => {
  const world = await World.open(t);
  await refuses((await world.channel()).assertQueue('amq.mine'), 403, reservedQueue, [50, 10]);
  const exchange = "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'";
  await refuses((await world.channel()).assertExchange('amq.mine', 'direct'), 403, exchange, [40, 10]);
  const queue = await world.queue(await world.channel());
  const bind = 'ACCESS_REFUSED - operation not permitted on the default exchange';
  await refuses((await world.channel()).bindQueue(queue, '', 'k'), 403, bind, [50, 20]);
});

test('403: publishing to an internal exchange is refused', async (t) => {
  const world = await World.open(t);
  const exchange = await world.exchange(await world.channel(), 'fanout', { internal: true, durable: false });
  const channel = await world.channel();
  channel.publish(exchange, '', Buffer.from('x'));
  const error = await within(DEADLINE_MS, channel.refused, 'the channel to be closed');
  assertRefusal(error, 403, `ACCESS_REFUSED - cannot publish to internal exchange '${exchange}' in vhost '/'`, [60, 40]);
});

test('403: a user without the right is refused verb by verb', async (t) => {
  const world = await World.open(t);
  const queue = await world.queue(await world.channel());
  const limited = await world.connect({ username: 'limited', password: 'limited' });
  const text = (verb, what) => `ACCESS_REFUSED - ${accessText(verb, `${what} in vhost '/' refused for user 'limited'`)}`;
  const attempt = async (verb, what, ids, operation) => {
    await refuses(operation(await world.channel(limited)), 403, text(verb, what), ids);
  };
  await attempt('configure', `queue '${queue}'`, [50, 10], (channel) => channel.assertQueue(queue));
  await attempt('configure', `queue '${queue}'`, [50, 40], (channel) => channel.deleteQueue(queue));
  await attempt('configure', "exchange 'mine'", [40, 10], (channel) => channel.assertExchange('mine', 'direct'));
  await attempt('write', `queue '${queue}'`, [50, 20], (channel) => channel.bindQueue(queue, 'amq.direct', 'k'));
  await attempt('read', `queue '${queue}'`, [60, 20], (channel) => channel.consume(queue, () => {}));
  await attempt('read', `queue '${queue}'`, [60, 70], (channel) => channel.get(queue));
  await attempt('read', `queue '${queue}'`, [50, 30], (channel) => channel.purgeQueue(queue));
  const channel = await world.channel(limited);
  channel.publish('amq.direct', 'k', Buffer.from('x'));
  const error = await within(DEADLINE_MS, channel.refused, 'the channel to be closed');
  assertRefusal(error, 403, text('write', "exchange 'amq.direct'"), [60, 40]);
});

test('403: a user with the right may do it', async (t) => {
  const world = await World.open(t, { username: 'limited', password: 'limited', prefix: 'lim-node' });
  const channel = await world.channel();
  const exchange = await world.exchange(channel, 'fanout');
  const queue = await world.queue(channel);
  await channel.bindQueue(queue, exchange, '');
  channel.publish(exchange, '', Buffer.from('allowed'));
  assert.equal((await channel.get(queue, { noAck: true })).content.toString(), 'allowed');
});

test('403: a wrong password is named as such', async () => {
  const error = await refusalOf({ password: 'wrong' });
  assert.match(error.message, /403 .*ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN/);
});

test('530: a missing vhost, and one that is not the users, are refused at connect', async () => {
  // amqplib keeps the code and text of a refused connection.open to itself: it tells only what came instead.
  const wanted = /Expected ConnectionOpenOk; got <ConnectionClose channel:0>/;
  assert.match((await refusalOf({ vhost: 'nowhere' })).message, wanted);
  assert.match((await refusalOf({ username: 'limited', password: 'limited', vhost: 'other' })).message, wanted);
});

test('530: using a consumer tag twice closes the connection', async (t) => {
  const world = await World.open(t);
  const channel = await world.channel();
  const queue = await world.queue(channel);
  await channel.consume(queue, () => {}, { consumerTag: 'twice' });
  const second = channel.consume(queue, () => {}, { consumerTag: 'twice' }).catch((error) => error);
  const error = await within(DEADLINE_MS, world.connection.failed, 'the connection to fail');
  assertRefusal(error, 530, "NOT_ALLOWED - attempt to reuse consumer tag 'twice'");
  assert.ok((await within(DEADLINE_MS, second, 'the consume to fail')) instanceof Error);
});

test('a refused channel leaves its neighbours and their consumers alone', async (t) => {
  const world = await World.open(t);
  const healthy = await world.channel();
  const queue = await world.queue(healthy);
  const delivered = new Promise((resolve) => healthy.consume(queue, resolve, { noAck: true }));
  for (let i = 0; i < 20; i += 1) {
    await refuses((await world.channel()).checkQueue(world.name('missing')), 404, 'NOT_FOUND', [50, 10]);
  }
  healthy.sendToQueue(queue, Buffer.from('still here'));
  assert.equal((await within(DEADLINE_MS, delivered, 'the delivery')).content.toString(), 'still here');
});

test('the same names in two vhosts are two queues', async (t) => {
  const world = await World.open(t);
  const elsewhere = await World.open(t, { vhost: 'other' });
  const queue = await world.queue(await world.channel());
  await refuses((await elsewhere.channel()).checkQueue(queue), 404, `no queue '${queue}' in vhost 'other'`, [50, 10]);
});
