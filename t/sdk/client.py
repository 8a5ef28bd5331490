# Calls that the official Python SDKs make: a line of JSON in, one out.

import json
import sys

import anthropic
import openai
from google import genai

MESSAGES = [{'role': 'user', 'content': 'hi'}]


def call_openai(base, headers, stream):
    client = openai.OpenAI(base_url=base + '/v1', api_key='mine',
                           default_headers=headers)
    made = client.chat.completions.create(model='gpt-5', messages=MESSAGES,
                                          stream=stream)
    if not stream:
        return made.choices[0].message.content
    return ''.join(c.choices[0].delta.content or '' for c in made if c.choices)


def call_anthropic(base, headers, stream):
    client = anthropic.Anthropic(base_url=base, api_key='mine',
                                 default_headers=headers)
    made = client.messages.create(model='claude', max_tokens=10,
                                  messages=MESSAGES, stream=stream)
    if not stream:
        return made.content[0].text
    return ''.join(e.delta.text for e in made
                   if e.type == 'content_block_delta')


def call_genai(base, headers, stream):
    client = genai.Client(api_key='mine', http_options={
        'base_url': base, 'api_version': 'v1beta', 'headers': headers})
    if not stream:
        return client.models.generate_content(model='gemini',
                                              contents='hi').text
    return ''.join(c.text or '' for c in client.models
                   .generate_content_stream(model='gemini', contents='hi'))


CALLS = {'openai': call_openai, 'anthropic': call_anthropic,
         'gemini': call_genai}

for line in sys.stdin:
    job = json.loads(line)
    try:
        said = {'text': CALLS[job['sdk']](job['base'], job['headers'],
                                          job['stream'])}
    except Exception as e:
        said = {'error': type(e).__name__,
                'status': getattr(e, 'status_code', getattr(e, 'code', None))}
    print(json.dumps(said), flush=True)
