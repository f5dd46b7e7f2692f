// A user with an Argon2id password, topic permissions and limits on connections and channels.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import amqp from 'amqplib';
import { within } from '../broker.js';
import { address, assertRefusal, beyondRabbit, DEADLINE_MS, drain, eventually, refuses, World } from '../support.js';

const guarded = { username: 'guarded', password: 'guarded' };
const topic = (key) => `access to topic '${key}' in exchange 'amq.topic' in vhost '/' refused for user 'guarded'`;

/** The error of a connection that is refused. */
async function refusalOf(overrides) {
  const connecting = amqp.connect(address(overrides)).then(() => assert.fail('connected'), (error) => error);
  return within(DEADLINE_MS, connecting, 'a refusal');
}

test('only the right password logs in', { skip: beyondRabbit }, async (t) => {
  const refused = await refusalOf({ ...guarded, password: 'guardex' });
  assert.match(refused.message, /ACCESS_REFUSED/);
  await World.open(t, guarded);
});

test('topic permissions bound what is published and bound', { skip: beyondRabbit }, async (t) => {
  const world = await World.open(t, guarded);
  const channel = await world.confirmChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  await channel.bindQueue(queue, 'amq.topic', 'guarded.#');
  channel.publish('amq.topic', 'guarded.order', Buffer.from('mine'));
  await within(DEADLINE_MS, channel.waitForConfirms(), 'the confirm');
  assert.deepEqual(await drain(channel, queue), ['mine']);
  await refuses(channel.bindQueue(queue, 'amq.topic', '#'), 403, `read ${topic('#')}`, [50, 20]);
  const publisher = await world.channel();
  const failed = new Promise((resolve) => publisher.once('error', resolve));
  publisher.publish('amq.topic', 'other.order', Buffer.from('x'));
  assertRefusal(await within(DEADLINE_MS, failed, 'a refusal'), 403, `write ${topic('other.order')}`, [60, 40]);
});

test('connections and channels are limited', { skip: beyondRabbit }, async (t) => {
  // Those of the tests before may still be on their way out.
  const world = await eventually(() => World.open(t, guarded).catch(() => null), 'a connection');
  const second = await eventually(() => world.connect().catch(() => null), 'another connection');
  const refused = await refusalOf(guarded);
  // amqplib does not tell the text of a close that comes in the place of open-ok.
  assert.match(refused.message, /ConnectionClose/);
  await world.channel();
  await world.channel(second);
  await eventually(() => world.channel().then(() => true, () => null), 'a third channel');
  second.createChannel().catch(() => {});
  const error = await within(DEADLINE_MS, second.failed, 'a refusal');
  assertRefusal(error, 530, "number of channels opened for user 'guarded' has reached the maximum allowed user limit of (3)");
});
