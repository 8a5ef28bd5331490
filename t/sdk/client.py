# Calls that the official Python SDKs make: a line of JSON in, one out.

import json
import sys

import anthropic
import openai
from google import genai
from google.genai import errors

MESSAGES = [{'role': 'user', 'content': 'hi'}]


def call_openai(base, headers, stream, text):
    client = openai.OpenAI(base_url=base + '/v1', api_key='mine',
                           default_headers=headers)
    made = client.chat.completions.create(model='gpt-5', messages=MESSAGES,
                                          stream=stream)
    if not stream:
        text.append(made.choices[0].message.content)
        return
    for chunk in made:
        if chunk.choices:
            text.append(chunk.choices[0].delta.content or '')


def call_anthropic(base, headers, stream, text):
    client = anthropic.Anthropic(base_url=base, api_key='mine',
                                 default_headers=headers)
    made = client.messages.create(model='claude', max_tokens=10,
                                  messages=MESSAGES, stream=stream)
    if not stream:
        text.append(made.content[0].text)
        return
    for event in made:
        if event.type == 'content_block_delta':
            text.append(event.delta.text)


def call_genai(base, headers, stream, text):
    client = genai.Client(api_key='mine', http_options={
        'base_url': base, 'api_version': 'v1beta', 'headers': headers})
    if not stream:
        text.append(client.models.generate_content(model='gemini',
                                                   contents='hi').text)
        return
    for chunk in client.models.generate_content_stream(model='gemini',
                                                       contents='hi'):
        text.append(chunk.text or '')


CALLS = {'openai': call_openai, 'anthropic': call_anthropic,
         'gemini': call_genai}

ERRORS = {'openai': openai.APIError, 'anthropic': anthropic.APIError,
          'gemini': errors.APIError}

for line in sys.stdin:
    job = json.loads(line)
    text = []
    said = {}
    try:
        CALLS[job['sdk']](job['base'], job['headers'], job['stream'], text)
    except ERRORS[job['sdk']] as e:
        said = {'error': type(e).__name__,
                'status': getattr(e, 'status_code', getattr(e, 'code', None))}
    said['text'] = ''.join(text)
    print(json.dumps(said), flush=True)
