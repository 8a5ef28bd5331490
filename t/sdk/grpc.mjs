// A gRPC server or client, told what to do by lines of JSON; messages are
// plain bytes, so that no description of them is needed.
//
//   node grpc.mjs server          prints {"port"}; each line sets what it does
//   node grpc.mjs client ADDRESS  a line is a call, a line its result
//
// behaviour: { messages: [..], code, details, trailers, late: 1, delay, stall }
//   late: the header is sent before an error, and not with it
// call:      { id, method: "unary" | "stream", text, deadline, metadata }
// result:    { id, messages, code, details, header, trailers }

import { createInterface } from 'node:readline';

import grpc from '@grpc/grpc-js';

const bytes = {
  requestSerialize: (s) => Buffer.from(s),
  requestDeserialize: (b) => b.toString(),
  responseSerialize: (s) => Buffer.from(s),
  responseDeserialize: (b) => b.toString(),
};

const service = {
  unary: { path: '/test.Test/Unary', requestStream: false,
           responseStream: false, ...bytes },
  stream: { path: '/test.Test/Stream', requestStream: false,
            responseStream: true, ...bytes },
};

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const lines = createInterface({ input: process.stdin });

function metadata(values) {
  const m = new grpc.Metadata();
  for (const [name, value] of Object.entries(values ?? {})) {
    m.set(name, value);
  }
  return m;
}

function server() {
  let does = { messages: ['hello'] };
  const seen = { calls: 0, cancelled: 0, last: null };

  const failure = () => ({ code: does.code, details: does.details ?? '',
                           metadata: metadata(does.trailers) });
  const note = (call) => {
    seen.calls++;
    seen.last = { text: call.request, metadata: call.metadata.getMap() };
    call.on('cancelled', () => seen.cancelled++);
  };

  const s = new grpc.Server();
  s.addService(service, {
    unary(call, done) {
      note(call);
      if (does.stall) {
        return;
      }
      if (does.late) {
        call.sendMetadata(metadata({ early: 'yes' }));
      }
      setTimeout(() => (does.code
        ? done(failure())
        : done(null, does.messages[0], metadata(does.trailers))),
        does.delay ?? 0);
    },
    stream(call) {
      note(call);
      for (const text of does.messages ?? []) {
        call.write(text);
      }
      if (does.stall) {
        return;
      }
      if (does.code) {
        call.emit('error', failure());
      } else {
        call.end(metadata(does.trailers));
      }
    },
  });

  s.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(),
    (error, port) => (error ? process.exit(1) : say({ port })));

  lines.on('line', (line) => {
    const wish = JSON.parse(line);
    if (!wish.ask) {
      does = wish;
      seen.calls = seen.cancelled = 0;
    }
    say(seen);
  });
}

function client(address) {
  const Client = grpc.makeGenericClientConstructor(service, 'test.Test');
  const c = new Client(address, grpc.credentials.createInsecure(), {
    'grpc.enable_retries': 0,
  });

  lines.on('line', (line) => {
    const job = JSON.parse(line);
    const result = { id: job.id, messages: [] };
    const options = {};
    if (job.deadline) {
      options.deadline = Date.now() + job.deadline;
    }

    const call = job.method === 'stream'
      ? c.stream(job.text ?? 'text', metadata(job.metadata), options)
      : c.unary(job.text ?? 'text', metadata(job.metadata), options,
        (error, text) => !error && result.messages.push(text));

    call.on('metadata', (m) => { result.header = m.getMap(); });
    call.on('data', (text) => result.messages.push(text));
    call.on('error', () => {});
    call.on('status', (status) => {
      result.code = status.code;
      result.details = status.details;
      result.trailers = status.metadata.getMap();
      setImmediate(say, result);
    });
  });
}

lines.on('close', () => process.exit(0));

if (process.argv[2] === 'server') {
  server();
} else {
  client(process.argv[3]);
}
