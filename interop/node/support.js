// The vocabulary of the tests: a world with names of its own that cleans up, inboxes that wait, refusals that are checked.
import assert from 'node:assert/strict';
import amqp from 'amqplib';
import { isExternal, shared, within } from './broker.js';

export const DEADLINE_MS = 10_000;
let named = 0;

/** Address as amqplib takes it. */
export function address(overrides = {}) {
  const { broker = shared, ...rest } = overrides;
  return { protocol: 'amqp', hostname: broker.host, port: broker.port, username: 'guest', password: 'guest', vhost: '/', ...rest };
}

/** What one test declares and opens; everything is gone when the test ends. */
export class World {
  static async open(t, overrides = {}) {
    const world = new World(overrides);
    world.connection = await world.connect();
    t.after(() => world.close());
    return world;
  }

  constructor(overrides) {
    this.overrides = overrides;
    this.connections = [];
    this.queues = [];
    this.exchanges = [];
  }

  /** Another connection of the same world; it is told apart from a failed one by `closed`. */
  async connect(overrides = {}) {
    const opened = amqp.connect(address({ ...this.overrides, ...overrides }), { clientProperties: { connection_name: 'interop-node' } });
    const connection = await within(DEADLINE_MS, opened, 'a connection');
    connection.closed = new Promise((resolve) => connection.once('close', resolve));
    connection.failed = new Promise((resolve) => connection.once('error', resolve));
    this.connections.push(connection);
    return connection;
  }

  async channel(connection = this.connection) {
    return watched(await within(DEADLINE_MS, connection.createChannel(), 'a channel'));
  }

  async confirmChannel(connection = this.connection) {
    return watched(await within(DEADLINE_MS, connection.createConfirmChannel(), 'a confirm channel'));
  }

  name(label = 'thing') {
    named += 1;
    return `${this.overrides.prefix ?? 'node'}-${process.pid}-${named}-${label}`;
  }

  async queue(channel, options = { durable: false }, name = this.name('queue')) {
    this.queues.push(name);
    await within(DEADLINE_MS, channel.assertQueue(name, options), 'a queue');
    return name;
  }

  async exchange(channel, type, options = { durable: false }, name = this.name(type)) {
    this.exchanges.push(name);
    await within(DEADLINE_MS, channel.assertExchange(name, type, options), 'an exchange');
    return name;
  }

  async close() {
    for (const connection of this.connections) await closeQuietly(connection);
    if (this.queues.length + this.exchanges.length === 0) return;
    const { prefix, username, password, ...rest } = this.overrides;
    const sweeper = await amqp.connect(address(rest));
    const channel = await sweeper.createChannel();
    for (const queue of this.queues) await channel.deleteQueue(queue);
    for (const exchange of this.exchanges) await channel.deleteExchange(exchange);
    await sweeper.close();
  }
}

async function closeQuietly(connection) {
  try {
    await within(DEADLINE_MS, connection.close(), 'a connection to close');
  } catch {
    // A test that made the broker close the connection leaves nothing to close.
  }
}

/** `channel.refused` resolves to the error the server closed it with. */
function watched(channel) {
  channel.refused = new Promise((resolve) => channel.once('error', resolve));
  return channel;
}

/** A consumer whose messages are waited for one by one. `null` in `next()` is the server's cancel. */
export class Inbox {
  static async open(channel, queue, options) {
    const inbox = new Inbox();
    const consuming = channel.consume(queue, (message) => inbox.put(message), options);
    inbox.consumerTag = (await within(DEADLINE_MS, consuming, 'consume-ok')).consumerTag;
    return inbox;
  }

  constructor() {
    this.messages = [];
    this.waiting = [];
  }

  put(message) {
    const waiter = this.waiting.shift();
    if (waiter) waiter(message);
    else this.messages.push(message);
  }

  async next(what = 'a delivery') {
    if (this.messages.length > 0) return this.messages.shift();
    return within(DEADLINE_MS, new Promise((resolve) => this.waiting.push(resolve)), what);
  }

  async take(count) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next(`delivery ${taken.length + 1} of ${count}`));
    return taken;
  }
}

/** Message bodies as text. */
export const texts = (messages) => messages.map((message) => message.content.toString());

/** Publishes and waits until the broker has confirmed every one. */
export async function publishAll(channel, exchange, routingKey, bodies, options) {
  for (const body of bodies) channel.publish(exchange, routingKey, Buffer.from(body), options);
  await within(DEADLINE_MS, channel.waitForConfirms(), 'confirms');
}

/** Everything now in the queue, taken out of it, as text. */
export async function drain(channel, queue) {
  const bodies = [];
  for (;;) {
    const message = await within(DEADLINE_MS, channel.get(queue, { noAck: true }), 'get');
    if (message === false) return bodies;
    bodies.push(message.content.toString());
  }
}

/** Polls `probe` until it is true. */
export async function eventually(probe, what, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const seen = await within(deadlineMs, probe(), what);
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`waited ${deadlineMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Asserts that the client surfaced exactly this refusal. */
export function assertRefusal(error, code, text, ids) {
  assert.equal(error?.code, code, `code of ${error}`);
  assert.ok(error.message.includes(text), `wanted ${JSON.stringify(text)} in ${JSON.stringify(error.message)}`);
  if (ids) assert.deepEqual([error.classId, error.methodId], ids);
}

/** Asserts that `operation` is refused by a channel close, through its own rejection. */
export async function refuses(operation, code, text, ids) {
  let error;
  await assert.rejects(within(DEADLINE_MS, operation, 'a refusal'), (thrown) => {
    error = thrown;
    return true;
  });
  assertRefusal(error, code, text, ids);
}

/** RabbitMQ before 3.12 leaves out the verb. */
export const accessText = (verb, rest) => (isExternal ? `access to ${rest}` : `${verb} access to ${rest}`);

/** The options of a queue whose dead letters go to `queue`. */
export const deadLettersTo = (queue) => ({ deadLetterExchange: '', deadLetterRoutingKey: queue });

/** Queue, reason and count of each death of a dead letter, the latest first. */
export const deaths = ({ properties }) => properties.headers['x-death'].map((death) => [death.queue, death.reason, death.count]);

/** Why a test of what RabbitMQ can not do is skipped; false if it is not. */
export const beyondRabbit = isExternal && 'RabbitMQ can not do this';
