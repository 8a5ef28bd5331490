// Two of CopilotKit's mock servers, a provider that nobody here wrote: prints
// their ports as JSON, ends with its input. The first one fails or breaks off
// where the prompt says so.

import { LLMock } from '@copilotkit/aimock';

const first = new LLMock({ port: 0, chunkSize: 4 });
const second = new LLMock({ port: 0, chunkSize: 4 });

const busy = { error: { message: 'busy', type: 'server_error' }, status: 503 };
const long = 'a stream that will not come to its end';

first.onMessage('fail', busy);
first.onMessage('break', { content: long },
  { latency: 40, truncateAfterChunks: 6 });
first.onMessage('hello', { content: 'from the first' });
second.onMessage('fail', { content: 'from the second' });

await first.start();
await second.start();

const ports = [first, second].map((mock) => Number(new URL(mock.url).port));
process.stdout.write(`${JSON.stringify(ports)}\n`);

process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
