// Definitions as RabbitMQ exports them: their users, topology and policies, and what a changed policy does.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Broker, isExternal, within } from '../broker.js';
import { assertRefusal, DEADLINE_MS, deaths, drain, Inbox, publishAll, refuses, texts, World } from '../support.js';

const OFFSET = 3;
const VHOST = 'shop';
const skip = isExternal && 'the broker is not ours to start';
const DEAD = { 'dead-letter-exchange': '', 'dead-letter-routing-key': 'dead' };

/** A password's hash as RabbitMQ exports it. */
function hashOf(password, algorithm) {
  const salt = Buffer.from('salt');
  const digest = createHash(algorithm).update(salt).update(password).digest();
  return Buffer.concat([salt, digest]).toString('base64');
}

const user = (name, algorithm) => ({
  name,
  password_hash: hashOf(name, algorithm),
  hashing_algorithm: `rabbit_password_hashing_${algorithm}`,
  tags: [],
});

const policy = (pattern, applyTo, definition) => ({
  vhost: VHOST, name: `${pattern} ${applyTo}`, pattern, 'apply-to': applyTo, priority: 0, definition,
});

const parameter = (component, name, value) => ({ component, vhost: VHOST, name, value });

const queue = (name, args = {}) => ({ name, vhost: VHOST, durable: true, auto_delete: false, arguments: args });

const exchange = (name, type) => ({
  name, type, vhost: VHOST, durable: true, auto_delete: false, internal: false, arguments: {},
});

const binding = (source, destination, key) => ({
  source, vhost: VHOST, destination, destination_type: 'queue', routing_key: key, arguments: {},
});

/** A shop: orders go to a queue, and what the policies say applies to it. */
const definitions = (policies, parameters) => ({
  rabbit_version: '3.13.7',
  users: [user('clerk', 'sha256'), user('keeper', 'sha512')],
  vhosts: [{ name: '/' }, { name: VHOST }],
  permissions: ['clerk', 'keeper'].map((name) => ({ user: name, vhost: VHOST, configure: '.*', write: '.*', read: '.*' })),
  topic_permissions: [{ user: 'clerk', vhost: VHOST, exchange: 'orders', write: '^{username}\\.', read: '.*' }],
  parameters,
  policies,
  exchanges: [exchange('orders', 'topic'), exchange('rest', 'fanout')],
  queues: [queue('orders'), queue('lost'), queue('dead'), queue('typed', { 'x-queue-type': 'quorum' })],
  bindings: [binding('orders', 'orders', '*.placed'), binding('rest', 'lost', '')],
});

/** A broker that imports a file of definitions at each start. */
class ImportingBroker extends Broker {
  constructor() {
    const file = path.join(process.env.INTEROP_DIR, 'definitions.json');
    super(OFFSET, { LEVERET_DEFINITIONS: file });
    this.file = file;
  }

  async startWith(policies = [], parameters = []) {
    writeFileSync(this.file, JSON.stringify(definitions(policies, parameters)));
    await this.start();
  }

  /** A channel of that user. */
  async channel(t, name) {
    const login = { broker: this, username: name, password: name, vhost: VHOST };
    return (await World.open(t, login)).confirmChannel();
  }
}

test('users, permissions, topology and policies of a file, and their changes', { skip }, async (t) => {
  const broker = new ImportingBroker();
  t.after(() => broker.kill());

  await t.test('users log in and find what they may use', async (t) => {
    await broker.startWith();
    const [clerk, keeper] = [await broker.channel(t, 'clerk'), await broker.channel(t, 'keeper')];
    await publishAll(clerk, 'orders', 'clerk.placed', ['1']);
    await publishAll(keeper, 'orders', 'any.placed', ['2']);
    assert.deepEqual(await drain(clerk, 'orders'), ['1', '2']);
    await clerk.assertQueue('typed', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    clerk.publish('orders', 'keeper.placed', Buffer.from('x'));
    const refusal = await within(DEADLINE_MS, clerk.refused, 'a refusal');
    assertRefusal(refusal, 403, "write access to topic 'keeper.placed'");
    await assert.rejects(World.open(t, { broker, username: 'clerk', password: 'other', vhost: VHOST }), /ACCESS_REFUSED/);
    assert.equal((await broker.stop()).code, 0);
  });

  await t.test('policies apply to the queues and exchanges that they match', async (t) => {
    await broker.startWith([
      policy('^orders$', 'queues', { 'max-length': 2, ...DEAD }),
      policy('^orders$', 'exchanges', { 'alternate-exchange': 'rest' }),
    ]);
    const channel = await broker.channel(t, 'clerk');
    await publishAll(channel, 'orders', 'clerk.placed', ['1', '2', '3'], { persistent: true });
    const letter = await (await Inbox.open(channel, 'dead', { noAck: true })).next();
    assert.deepEqual([texts([letter]), deaths(letter)], [['1'], [['orders', 'maxlen', 1]]]);
    await publishAll(channel, 'orders', 'clerk.asked', ['unrouted'], { mandatory: true });
    assert.deepEqual(await drain(channel, 'lost'), ['unrouted']);
    assert.equal((await channel.checkQueue('orders')).messageCount, 2);
    assert.equal((await broker.stop()).code, 0);
  });

  await t.test('a changed policy changes the queue that is there', async (t) => {
    await broker.startWith([policy('^orders$', 'queues', { 'max-length': 1, ...DEAD })]);
    const channel = await broker.channel(t, 'clerk');
    const letter = await (await Inbox.open(channel, 'dead', { noAck: true })).next();
    assert.deepEqual([texts([letter]), deaths(letter)], [['2'], [['orders', 'maxlen', 1]]]);
    assert.deepEqual(await drain(channel, 'orders'), ['3']);
    assert.equal((await broker.stop()).code, 0);
  });

  await t.test("an operator's policy limits what a queue asks for", async (t) => {
    const top = { pattern: '^work', 'apply-to': 'queues', priority: 0, definition: { 'max-length': 2 } };
    await broker.startWith([], [parameter('operator_policy', 'top', top)]);
    const channel = await broker.channel(t, 'keeper');
    for (const [name, maxLength, kept] of [['work-1', 10, ['2', '3']], ['work-2', 1, ['3']], ['other', 10, ['1', '2', '3']]]) {
      await channel.assertQueue(name, { durable: false, maxLength });
      await publishAll(channel, '', name, ['1', '2', '3']);
      assert.deepEqual(await drain(channel, name), kept);
    }
    assert.equal((await broker.stop()).code, 0);
  });

  await t.test('a virtual host has limits', async (t) => {
    const queues = definitions([], []).queues.length;
    const limits = { 'max-connections': 2, 'max-queues': queues + 1 };
    await broker.startWith([], [parameter('vhost-limits', 'limits', limits)]);
    const [channel] = [await broker.channel(t, 'clerk'), await broker.channel(t, 'keeper')];
    await channel.assertQueue('one-more', { durable: false });
    const tooMany = channel.assertQueue('too-many', { durable: false });
    await refuses(tooMany, 406, `queue limit in vhost '${VHOST}' (${queues + 1}) is reached`, [50, 10]);
    await assert.rejects(broker.channel(t, 'keeper'), /ConnectionClose/);
  });
});
