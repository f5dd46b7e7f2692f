// The broker under test, and where to find it. One shared broker serves the suite; a test that kills starts its own.
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const START_DEADLINE_MS = 30_000;
const here = path.dirname(fileURLToPath(import.meta.url));
const external = process.env.INTEROP_EXTERNAL;
const basePort = Number(process.env.INTEROP_PORT ?? 0);

/** True when somebody else's broker is under test: it is not ours to kill. */
export const isExternal = Boolean(external);

/** Address of the broker all tests share. */
export const shared = external
  ? { host: external.split(':')[0], port: Number(external.split(':')[1]) }
  : { host: '127.0.0.1', port: basePort };

/** A broker process on `INTEROP_PORT + offset` with a data directory that outlives a kill, and its environment. */
export class Broker {
  constructor(offset, environment = {}) {
    this.host = '127.0.0.1';
    this.port = basePort + offset;
    this.environment = environment;
    this.directory = path.join(process.env.INTEROP_DIR, `broker-${this.port}`);
    mkdirSync(this.directory, { recursive: true });
    process.once('exit', () => this.child?.kill('SIGKILL'));
  }

  /** Starts the process and waits until it says so and takes connections. */
  async start() {
    const child = spawn(path.join(here, '..', 'broker'), [String(this.port), path.join(this.directory, 'data')], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.environment },
    });
    this.child = child;
    this.exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    const log = createWriteStream(path.join(this.directory, 'log'), { flags: 'a' });
    child.stderr.pipe(log, { end: false });
    const ready = new Promise((resolve, reject) => {
      let printed = '';
      child.stdout.on('data', (bytes) => {
        log.write(bytes);
        printed = (printed + bytes).slice(-4096);
        if (printed.includes('Server startup complete')) resolve();
      });
      child.once('error', reject);
      child.once('exit', (code, signal) => reject(new Error(`the broker ended at start: ${code ?? signal}`)));
    });
    await within(START_DEADLINE_MS, ready, 'the broker to print that it is ready');
    await within(START_DEADLINE_MS, tcpConnect(this), 'the broker to take a connection');
    return this;
  }

  /** kill -9, and the end of the process. */
  async kill() {
    this.child.kill('SIGKILL');
    await within(10_000, this.exited, 'the killed broker to be gone');
  }

  /** SIGHUP: the broker reads its configuration again. */
  reload() {
    this.child.kill('SIGHUP');
  }

  /** SIGTERM, and the end of the process; kill -9 if it takes too long. */
  async stop() {
    this.child.kill('SIGTERM');
    try {
      return await within(15_000, this.exited, 'the broker to stop');
    } catch (error) {
      await this.kill();
      throw error;
    }
  }
}

/** `promise`, or an error naming what did not happen in time. */
export async function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function tcpConnect({ host, port }) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, host);
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
    socket.once('error', reject);
  });
}
