// A headless Chromium, told what to do: a line of JSON in, a line out.
//
// { op: "open", url, width, height, dark, headers }    a new page
// { op: "eval", code }      the value of an expression in the page
// { op: "wait", code, ms }  until it is true; the last value otherwise
// { op: "click" | "focus", selector } { op: "press", key }
// { op: "type", selector, text }
// { op: "media", dark } { op: "size", width, height }
// { op: "hide", hidden }    another tab is in front, or not any more
// { op: "dialogs", accept } what is answered to those that come
// { op: "shot", path }      of the whole page
// { op: "said" }            { problems, requests, dialogs } since asked last
// { op: "end" }
//
// result: { value } or { error }

import { createInterface } from 'node:readline';

import puppeteer from 'puppeteer-core';

const browser = await puppeteer.launch({
  executablePath: process.argv[2],
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
         '--hide-scrollbars', '--force-prefers-reduced-motion'],
});

let page;
let accept = true;
let said;

function forget() {
  said = { problems: [], requests: [], dialogs: [] };
}

forget();

async function open({ url, width = 1280, height = 900, dark, headers }) {
  await page?.close();
  page = await browser.newPage();

  page.on('console', (message) => {
    if (['error', 'warn', 'warning'].includes(message.type())) {
      said.problems.push(`${message.type()}: ${message.text()}`);
    }
  });
  page.on('pageerror', (error) => said.problems.push(`thrown: ${error}`));
  page.on('request', (request) =>
    said.requests.push({ method: request.method(), url: request.url() }));
  page.on('dialog', async (dialog) => {
    said.dialogs.push(dialog.message());
    await (accept ? dialog.accept() : dialog.dismiss());
  });

  await page.evaluateOnNewDocument(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) =>
      window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });

  if (headers) {
    await page.setExtraHTTPHeaders(headers);
  }
  await page.setViewport({ width, height });
  await media({ dark });

  const answer = await page.goto(url, { waitUntil: 'load' });
  return { status: answer.status(), headers: answer.headers() };
}

async function media({ dark }) {
  await page.emulateMediaFeatures([
    { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]);
}

async function wait({ code, ms = 10_000 }) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await page.evaluate(code);
    if (value || Date.now() > end) {
      return value;
    }
    await new Promise((go) => setTimeout(go, 20));
  }
}

const ops = {
  open, media, wait,
  eval: ({ code }) => page.evaluate(code),
  click: ({ selector }) => page.click(selector),
  focus: ({ selector }) => page.focus(selector),
  press: ({ key }) => page.keyboard.press(key),
  type: ({ selector, text }) => page.type(selector, text),
  size: ({ width, height = 900 }) => page.setViewport({ width, height }),
  hide: ({ hidden }) => page.evaluate((is) => {
    Object.defineProperty(document, 'hidden', { value: is,
                                                configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden),
  dialogs: (job) => { accept = job.accept; },
  shot: ({ path }) => page.screenshot({ path, fullPage: true }),
  said: async () => {
    const all = said;
    all.problems.push(...await page.evaluate(() =>
      window.violations.splice(0).map((v) => `policy: ${v}`)));
    forget();
    return all;
  },
};

console.log(JSON.stringify({ value: await browser.version() }));

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  if (job.op === 'end') {
    break;
  }
  let result;
  try {
    const value = await ops[job.op](job);
    result = { value: value instanceof Uint8Array ? null : value ?? null };
  } catch (error) {
    result = { error: String(error) };
  }
  console.log(JSON.stringify(result));
}

await browser.close();
