
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/dialect.h"
#include "llm/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


/*
 * Whatever a provider says, there is a class for it.  The first byte picks the
 * dialect and the flags, the second the status, the third the content type.
 */


#define check(cond)  do { if (!(cond)) { abort(); } } while (0)


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static const unsigned  statuses[] = {
    200, 201, 204, 299, 300, 302, 400, 401, 402, 403, 404, 408, 409, 410, 413,
    422, 429, 431, 498, 499, 500, 501, 502, 503, 504, 520, 524, 529, 599
};

static const char *const  types[] = {
    "", "application/json", "application/json; charset=utf-8", "text/html",
    "text/event-stream", "application/problem+json", ";", "json"
};


static void
fuzz_answer(const llm_dialect_t *d, const uint8_t *head, llm_str_t body)
{
    const char     *type;
    llm_answer_t    a;
    res_outcome_e   outcome;

    type = types[head[2] % (sizeof(types) / sizeof(types[0]))];

    memset(&a, 0, sizeof(llm_answer_t));
    a.status = statuses[head[1] % (sizeof(statuses) / sizeof(statuses[0]))];
    a.type.data = (const unsigned char *) type;
    a.type.len = strlen(type);
    a.body = body;
    a.whole = head[0] >> 4 & 1;
    a.own_key = head[0] >> 5 & 1;
    a.retry_after = head[0] >> 6 & 1;
    a.coded = head[0] >> 7;

    outcome = d->classify(&a);

    if (d->wait) {
        (void) d->wait(&a);
    }

    check(outcome < RES_OUTCOMES);
    check(a.status < 400 || outcome != RES_SUCCESS);
    check(a.own_key || a.status < 400 || outcome != RES_AUTH);

    if (d->advice) {
        check(d->advice(&a, outcome) < 32);
    }
}


static llm_event_e
fuzz_event(const llm_dialect_t *d, const llm_event_t *e)
{
    llm_event_e    kind;
    res_outcome_e  outcome;

    outcome = RES_SUCCESS;
    kind = d->event(e, &outcome);

    check(kind <= LLM_EVENT_DENIED);

    if (kind >= LLM_EVENT_ERROR && kind != LLM_EVENT_LAST) {
        check(outcome != RES_SUCCESS && outcome < RES_OUTCOMES);
    }

    return kind;
}


static void
fuzz_stream(const llm_dialect_t *d, llm_str_t body)
{
    llm_sse_t             s;
    llm_event_t           e;
    llm_stream_t          stream;
    unsigned char         buf[64];
    const unsigned char  *pos, *half;

    pos = body.data;
    half = body.data + body.len / 2;

    memset(&stream, 0, sizeof(llm_stream_t));
    llm_sse_init(&s, buf, sizeof(buf));
    llm_sse_shorten(&s);

    while (llm_sse_next(&s, &pos, half, &e)
           || llm_sse_next(&s, &pos, body.data + body.len, &e))
    {
        if (d->follow) {
            d->follow(&stream, &e);
        }

        (void) fuzz_event(d, &e);
    }

    if (d->error_event) {
        (void) d->error_event(NULL, &stream, 502, "x", "y");
    }

    memset(&e, 0, sizeof(llm_event_t));
    e.data = body;

    (void) fuzz_event(d, &e);

    e.cut = 1;
    (void) fuzz_event(d, &e);
}


/* our own errors are well-formed, whatever the message, and read as errors */

static void
fuzz_error(const llm_dialect_t *d, unsigned status, llm_str_t body)
{
    char                 *message;
    size_t                len;
    llm_str_t             json;
    llm_sse_t             s;
    llm_event_t           e;
    llm_stream_t          stream;
    unsigned char        *buf, none;
    const unsigned char  *pos;

    message = malloc(body.len + 1);
    check(message != NULL);

    if (body.len) {
        memcpy(message, body.data, body.len);
    }

    message[body.len] = '\0';

    len = d->error_body(NULL, status, "timeout", message);
    buf = malloc(len);
    check(buf != NULL);
    check(d->error_body(buf, status, "timeout", message) == len);

    json.data = buf;
    json.len = len;
    check(llm_json_valid(json));
    free(buf);

    if (d->error_event == NULL) {
        free(message);
        return;
    }

    memset(&stream, 0, sizeof(llm_stream_t));
    stream.numbered = status & 1;
    stream.sequence = body.len;

    len = d->error_event(NULL, &stream, status, "timeout", message);
    buf = malloc(len);
    check(buf != NULL);
    check(d->error_event(buf, &stream, status, "timeout", message) == len);

    pos = buf;
    llm_sse_init(&s, &none, 0);

    check(llm_sse_next(&s, &pos, buf + len, &e) && pos == buf + len);
    check(fuzz_event(d, &e) == LLM_EVENT_ERROR);

    free(buf);
    free(message);
}


/* what is well-formed stays so */

static void
fuzz_digest(llm_str_t body)
{
    llm_str_t       json;
    llm_digest_t    d;
    unsigned char  *buf;

    buf = malloc(body.len);
    check(buf != NULL);

    memset(&d, 0, sizeof(llm_digest_t));
    json.data = buf;
    json.len = llm_digest(&d, body.data, body.len / 2, buf, body.len);
    json.len += llm_digest(&d, body.data + body.len / 2,
                           body.len - body.len / 2, buf + json.len,
                           body.len - json.len);

    check(!d.full && llm_json_valid(json));
    free(buf);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned              n;
    llm_str_t             body, name;
    const llm_dialect_t  *d;

    if (size < 3) {
        return 0;
    }

    for (n = 0; llm_dialect_get(n); n++) { /* void */ }

    d = llm_dialect_get((data[0] & 15) % n);

    body.data = data + 3;
    body.len = size - 3;

    fuzz_answer(d, data, body);

    if (d->event) {
        fuzz_stream(d, body);
    }

    fuzz_error(d, 400 + data[1] % 200, body);

    if (d->model && d->model(body, &name)) {
        check(name.len && name.data > body.data
              && name.data + name.len <= body.data + body.len);
    }

    if (llm_json_valid(body)) {
        fuzz_digest(body);
    }

    return 0;
}
