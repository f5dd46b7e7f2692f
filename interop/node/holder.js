// Takes one message from a queue, says so, and keeps it unacked until somebody stops this process.
import amqp from 'amqplib';

const [, , url, queue] = process.argv;
const connection = await amqp.connect(JSON.parse(url));
const channel = await connection.createChannel();
await channel.consume(queue, () => console.log('holding'));
