// Plays jobs through the providers' SDKs: a line of JSON in, a line out, each
// with the job's id; jobs run beside each other.
//
// job:    { id, sdk: "openai" | "anthropic" | "gemini", base_url, api_key,
//           headers, model, prompt, stream, max_retries, timeout (ms),
//           abort_after_chunks, stream_options }
// result: { id, ok, text, chunks, finish, usage, model, status, headers,
//           requests, error: { name, api, status, type, code, message } }
//
// "requests" counts what the SDK sent, its retries among them; "api" says
// whether the error is one of the SDK's APIError family. max_retries is the
// SDK's own default when not given.

import { createInterface } from 'node:readline';

import Anthropic from '@anthropic-ai/sdk';
import { ApiError, GoogleGenAI } from '@google/genai';
import OpenAI from 'openai';

// an error is told by its result, not on stderr
const logLevel = 'off';

function options(job, result) {
  const options = {
    apiKey: job.api_key ?? 'sk-client',
    baseURL: job.base_url,
    defaultHeaders: job.headers,
    timeout: job.timeout ?? 30_000,
    logLevel,
    fetch: (...args) => {
      result.requests++;
      return fetch(...args);
    },
  };
  if (job.max_retries !== undefined) {
    options.maxRetries = job.max_retries;
  }
  return options;
}

async function openai(job, result) {
  const client = new OpenAI(options(job, result));
  const request = {
    model: job.model ?? 'gpt-5',
    messages: [{ role: 'user', content: job.prompt ?? 'Hello' }],
  };
  if (job.stream) {
    request.stream = true;
    if (job.stream_options) {
      request.stream_options = job.stream_options;
    }
  }
  const { data, response } =
    await client.chat.completions.create(request).withResponse();
  seen(response, result);

  if (!job.stream) {
    result.text = data.choices?.[0]?.message?.content ?? '';
    result.finish = data.choices?.[0]?.finish_reason ?? null;
    result.usage = data.usage ?? null;
    result.model = data.model;
    return;
  }

  for await (const chunk of data) {
    result.chunks++;
    result.model = chunk.model ?? result.model;
    result.usage = chunk.usage ?? result.usage;
    const choice = chunk.choices?.[0];
    result.text += choice?.delta?.content ?? '';
    result.finish = choice?.finish_reason ?? result.finish;
    if (stop(job, result)) {
      break;
    }
  }
}

async function anthropic(job, result) {
  const client = new Anthropic(options(job, result));
  const { data, response } = await client.messages.create({
    model: job.model ?? 'claude-x',
    max_tokens: 100,
    messages: [{ role: 'user', content: job.prompt ?? 'Hello' }],
    stream: job.stream ?? false,
  }).withResponse();
  seen(response, result);

  if (!job.stream) {
    result.text = (data.content ?? []).map((part) => part.text ?? '').join('');
    result.finish = data.stop_reason ?? null;
    result.usage = data.usage ?? null;
    result.model = data.model;
    return;
  }

  for await (const event of data) {
    result.chunks++;
    if (event.type === 'message_start') {
      result.model = event.message.model;
      result.usage = event.message.usage;
    } else if (event.type === 'content_block_delta') {
      result.text += event.delta.text ?? '';
    } else if (event.type === 'message_delta') {
      result.finish = event.delta.stop_reason ?? result.finish;
      result.usage = { ...result.usage, ...event.usage };
    } else if (event.type === 'message_stop') {
      result.stopped = true;
    }
    if (stop(job, result)) {
      break;
    }
  }
}

async function gemini(job, result) {
  const client = new GoogleGenAI({
    apiKey: job.api_key ?? 'client',
    httpOptions: { baseUrl: job.base_url, headers: job.headers },
  });
  const request = {
    model: job.model ?? 'gemini-x',
    contents: job.prompt ?? 'Hello',
  };

  if (!job.stream) {
    const data = await client.models.generateContent(request);
    result.text = data.text ?? '';
    result.finish = data.candidates?.[0]?.finishReason ?? null;
    return;
  }

  for await (const chunk of
             await client.models.generateContentStream(request)) {
    result.chunks++;
    result.text += chunk.text ?? '';
    result.finish = chunk.candidates?.[0]?.finishReason ?? result.finish;
  }
}

function seen(response, result) {
  result.status = response.status;
  result.headers = Object.fromEntries(response.headers);
}

function stop(job, result) {
  return job.abort_after_chunks !== undefined
    && result.chunks >= job.abort_after_chunks;
}

function described(error, job) {
  const family = { anthropic: Anthropic.APIError, gemini: ApiError };
  return {
    name: error.constructor?.name ?? error.name,
    api: error instanceof (family[job.sdk] ?? OpenAI.APIError),
    status: error.status ?? null,
    type: error.type ?? null,
    code: error.code ?? null,
    message: String(error.message),
    headers: error.headers?.entries ? Object.fromEntries(error.headers) : null,
  };
}

async function play(line) {
  const job = JSON.parse(line);
  const result = {
    id: job.id, ok: false, text: '', chunks: 0, finish: null, usage: null,
    requests: 0,
  };
  try {
    await ({ anthropic, gemini }[job.sdk] ?? openai)(job, result);
    result.ok = true;
  } catch (error) {
    result.error = described(error, job);
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

createInterface({ input: process.stdin }).on('line', (line) => {
  if (line.trim()) {
    play(line);
  }
});
