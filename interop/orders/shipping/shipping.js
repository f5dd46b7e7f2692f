// Ships an order once it is both placed and paid. What it knows is in its book, so it may die at any moment.
import fs from 'node:fs';
import amqp from 'amqplib';

const QUEUE = 'orders.shipping';
const book = process.env.ORDERS_BOOK;
const seen = { placed: new Set(), paid: new Set(), shipped: new Set() };

if (fs.existsSync(book)) {
  for (const line of fs.readFileSync(book, 'utf8').split('\n')) {
    const [event, , order] = line.split(' ');
    seen[event]?.add(order);
  }
}

function note(event, id, order, redelivered) {
  fs.appendFileSync(book, `${event} ${id} ${order} ${redelivered ? 1 : 0}\n`);
  seen[event].add(order);
}

function handle(channel, message) {
  if (message === null) throw new Error('the queue was deleted');
  const event = message.fields.routingKey.replace('order.', '');
  const order = String(JSON.parse(message.content).order);
  note(event, message.properties.messageId, order, message.fields.redelivered);
  if (seen.placed.has(order) && seen.paid.has(order) && !seen.shipped.has(order)) note('shipped', '-', order, false);
  channel.ack(message);
}

// amqplib calls this after the first connect and after each later one.
async function setup(connection) {
  const channel = await connection.createChannel();
  await channel.assertExchange('orders', 'topic', { durable: true });
  await channel.assertQueue(QUEUE, { durable: true });
  await channel.bindQueue(QUEUE, 'orders', 'order.placed');
  await channel.bindQueue(QUEUE, 'orders', 'order.paid');
  await channel.prefetch(20);
  await channel.consume(QUEUE, (message) => handle(channel, message));
  console.log('ready');
}

const connection = await amqp.connect(process.env.ORDERS_URL, { recovery: { setup, initialDelay: 50, maxDelay: 200 } });
connection.on('error', (error) => console.log(`lost the broker: ${error.message}`));
process.once('SIGTERM', async () => {
  await connection.close();
  process.exit(0);
});
