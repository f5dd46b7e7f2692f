// Remote procedure calls through amq.rabbitmq.reply-to.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { within } from '../broker.js';
import { assertRefusal, DEADLINE_MS, Inbox, publishAll, refuses, World } from '../support.js';

const REPLY_TO = 'amq.rabbitmq.reply-to';

/** A world with a queue for questions, and somebody on another connection who answers them in capitals. */
async function answered(t) {
  const world = await World.open(t);
  const channel = await world.confirmChannel();
  const questions = await world.queue(channel);
  const responder = await world.channel(await world.connect());
  const addresses = new Set();
  const consuming = responder.consume(questions, (message) => {
    const { replyTo, correlationId } = message.properties;
    addresses.add(replyTo);
    responder.sendToQueue(replyTo, Buffer.from(message.content.toString().toUpperCase()), { correlationId });
  }, { noAck: true });
  await within(DEADLINE_MS, consuming, 'consume-ok');
  return { world, channel, questions, responder, addresses };
}

const ask = (channel, questions, bodies) => publishAll(channel, '', questions, bodies, { replyTo: REPLY_TO, correlationId: 'id' });

test('answers come back to the channel that asked', async (t) => {
  const { world, channel, questions, addresses } = await answered(t);
  const other = await world.confirmChannel();
  const [inbox, others] = [await Inbox.open(channel, REPLY_TO, { noAck: true }), await Inbox.open(other, REPLY_TO, { noAck: true })];
  const bodies = (name) => Array.from({ length: 100 }, (_, index) => `${name}-${index}`);
  await ask(channel, questions, bodies('one'));
  await ask(other, questions, bodies('two'));
  for (const [own, name] of [[inbox, 'ONE'], [others, 'TWO']]) {
    const replies = await own.take(100);
    assert.deepEqual(replies.map((reply) => reply.content.toString()), bodies(name));
    assert.equal(replies[0].properties.correlationId, 'id');
    assert.equal(replies[0].fields.exchange, '');
  }
  assert.equal(addresses.size, 2);
});

test('a channel that asks anew has a new address, and the old one is gone', async (t) => {
  const { world, channel, questions, responder, addresses } = await answered(t);
  for (const body of ['first', 'second']) {
    const inbox = await Inbox.open(channel, REPLY_TO, { noAck: true });
    await ask(channel, questions, [body]);
    assert.equal((await inbox.next()).content.toString(), body.toUpperCase());
    await channel.cancel(inbox.consumerTag);
  }
  assert.equal(addresses.size, 2);
  for (const address of addresses) {
    responder.sendToQueue(address, Buffer.from('too late'));
    await refuses((await world.channel()).checkQueue(address), 404, `no queue '${address}' in vhost '/'`, [50, 10]);
  }
  assert.deepEqual(await responder.checkQueue(REPLY_TO), { queue: REPLY_TO, messageCount: 0, consumerCount: 1 });
});

test('a question without a consumer for its answer is refused', async (t) => {
  const { world, questions } = await answered(t);
  await refuses((await world.channel()).consume(REPLY_TO, () => {}), 406, 'reply consumer cannot acknowledge', [60, 20]);
  const channel = await world.channel();
  channel.sendToQueue(questions, Buffer.from('?'), { replyTo: REPLY_TO });
  const error = await within(DEADLINE_MS, channel.refused, 'a refusal');
  assertRefusal(error, 406, 'fast reply consumer does not exist', [60, 40]);
});
