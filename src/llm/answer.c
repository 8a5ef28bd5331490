
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "answer.h"
#include "json.h"

#include <string.h>
#include <strings.h>


typedef enum {
    ANSWER_NONE = 0,             /* there is no Content-Type */
    ANSWER_JSON,
    ANSWER_HTML,                 /* a page of something on the way */
    ANSWER_OTHER
} answer_type_e;


typedef struct {
    unsigned                status;
    res_outcome_e           outcome;
} answer_status_t;


typedef struct {
    unsigned                status;
    unsigned                advice;
} answer_advice_t;


/* where an LLM API means more by a status than HTTP does */

static const answer_status_t  answer_statuses[] = {
    { 404, RES_NOT_FOUND },
    { 408, RES_TIMEOUT },
    { 410, RES_NOT_FOUND },
    { 498, RES_RATE_LIMITED },   /* Groq: no room for a flexible call */
    { 499, RES_CANCELLED },      /* it gave up though our client did not */
    { 504, RES_TIMEOUT },
    { 524, RES_TIMEOUT },
    { 525, RES_CONNECT },        /* no TLS behind the provider's front */
    { 526, RES_CONNECT },
    { 0, RES_SUCCESS }
};


/* what else it says */

static const answer_advice_t  answer_advices[] = {
    { 405, LLM_ADVICE_MISFIT },
    { 406, LLM_ADVICE_MISFIT },
    { 408, LLM_ADVICE_ONCE },
    { 409, LLM_ADVICE_ONCE },
    { 411, LLM_ADVICE_MISFIT },
    { 413, LLM_ADVICE_MOVE },    /* more tokens than a minute has */
    { 414, LLM_ADVICE_MISFIT },
    { 415, LLM_ADVICE_MISFIT },
    { 425, LLM_ADVICE_ONCE },
    { 431, LLM_ADVICE_MISFIT },
    { 498, LLM_ADVICE_MOVE },
    { 501, LLM_ADVICE_MOVE|LLM_ADVICE_BLAMELESS },
    { 505, LLM_ADVICE_MOVE|LLM_ADVICE_BLAMELESS },
    { 525, LLM_ADVICE_MOVE },
    { 526, LLM_ADVICE_MOVE },
    { 0, 0 }
};


/* what providers say in plain words, in lower case */

static const llm_error_name_t  answer_texts[] = {
    { "maximum context length", RES_CONTEXT_LENGTH },
    { "maximum context limit", RES_CONTEXT_LENGTH },
    { "maximum model length", RES_CONTEXT_LENGTH },
    { "the model's context length", RES_CONTEXT_LENGTH },
    { "reduce the length of the messages", RES_CONTEXT_LENGTH },
    { "exceed context limit", RES_CONTEXT_LENGTH },
    { "exceeds the context window", RES_CONTEXT_LENGTH },
    { "exceeds the available context size", RES_CONTEXT_LENGTH },
    { "exceeds the maximum number of tokens allowed", RES_CONTEXT_LENGTH },
    { "tokens exceed the configured limit", RES_CONTEXT_LENGTH },
    { "`max_new_tokens` must be <=", RES_CONTEXT_LENGTH },
    { "prompt is too long", RES_CONTEXT_LENGTH },
    { "input is too long", RES_CONTEXT_LENGTH },
    { "too many tokens", RES_CONTEXT_LENGTH },

    { "content management policy", RES_CONTENT_POLICY },
    { "content filtering policy", RES_CONTENT_POLICY },
    { "result of our safety system", RES_CONTENT_POLICY },

    { "exceeded your current quota", RES_QUOTA },
    { "credit balance is too low", RES_QUOTA },
    { "insufficient balance", RES_QUOTA },
    { "api usage limits", RES_QUOTA },
    { "spend limit", RES_QUOTA },

    { "api key not valid", RES_AUTH },

    { "exceeded by request parameters", RES_CLIENT_ERROR },

    { "high demand", RES_OVERLOADED },
    { "capacity exceeded", RES_OVERLOADED },

    { NULL, RES_SUCCESS }
};


static int
answer_is(llm_str_t text, const char *name)
{
    size_t  len;

    len = strlen(name);

    return text.len == len
           && strncasecmp((const char *) text.data, name, len) == 0;
}


static answer_type_e
answer_type(llm_str_t type)
{
    llm_str_t             suffix;
    const unsigned char  *p;

    p = type.len ? memchr(type.data, ';', type.len) : NULL;

    if (p) {
        type.len = p - type.data;
    }

    type = llm_json_trim(type);

    if (type.len == 0) {
        return ANSWER_NONE;
    }

    suffix = type;

    if (suffix.len > 5) {
        suffix.data += suffix.len - 5;
        suffix.len = 5;
    }

    if (answer_is(type, "application/json") || answer_is(suffix, "+json")) {
        return ANSWER_JSON;
    }

    return answer_is(type, "text/html") ? ANSWER_HTML : ANSWER_OTHER;
}


res_outcome_e
llm_answer_success(const llm_answer_t *a, int *json)
{
    llm_str_t      body;
    answer_type_e  type;

    *json = 0;

    if (!a->whole || a->status == 204 || a->status == 205) {
        return RES_SUCCESS;
    }

    body = llm_json_trim(a->body);
    type = answer_type(a->type);

    if (a->coded) {
        return (a->body.len != 0) ? RES_SUCCESS : RES_INVALID_RESPONSE;
    }

    if (body.len == 0 || type == ANSWER_HTML) {
        return RES_INVALID_RESPONSE;
    }

    if (type == ANSWER_NONE && (body.data[0] == '{' || body.data[0] == '[')) {
        type = ANSWER_JSON;
    }

    if (type != ANSWER_JSON) {
        return RES_SUCCESS;
    }

    *json = llm_json_valid(body);

    return *json ? RES_SUCCESS : RES_INVALID_RESPONSE;
}


static const llm_event_name_t *
answer_event(const llm_event_name_t *names, const llm_event_t *e,
    llm_str_t type)
{
    const llm_event_name_t  *n;

    for (n = names; n->name; n++) {

        if (llm_json_equals(type, n->name)) {
            return n;
        }
    }

    for (n = names; n->name; n++) {

        if (e->name.len == strlen(n->name)
            && memcmp(e->name.data, n->name, e->name.len) == 0)
        {
            return n;
        }
    }

    return NULL;
}


llm_event_e
llm_event_kind(const llm_event_name_t *names, const llm_event_t *e,
    llm_str_t type)
{
    const llm_event_name_t  *n;

    n = answer_event(names, e, type);

    return n ? n->kind : LLM_EVENT_CONTENT;
}


int
llm_answer_says(llm_str_t value)
{
    llm_str_t        key, v;
    llm_json_iter_t  it;

    switch (llm_json_kind(value)) {

    case 0:
    case 'n':
    case 'f':
        return 0;

    case '"':
        return !llm_json_equals(value, "");

    case '{':
    case '[':
        llm_json_iter(&it, value);

        while (llm_json_next(&it, &key, &v)) {

            if (llm_json_kind(v) != 'n') {
                return 1;
            }
        }

        return 0;

    default:
        return 1;
    }
}


res_outcome_e
llm_error_status(unsigned status, int own_key)
{
    const answer_status_t  *s;

    for (s = answer_statuses; s->status; s++) {

        if (s->status == status) {
            return s->outcome;
        }
    }

    return res_outcome_status(status, own_key);
}


unsigned
llm_answer_advice(const llm_answer_t *a, res_outcome_e outcome)
{
    const answer_advice_t  *v;

    if (a->status >= 300 && a->status < 400) {
        return LLM_ADVICE_STOP|LLM_ADVICE_BLAMELESS;
    }

    if (a->status == 429 && outcome == RES_OVERLOADED) {
        return LLM_ADVICE_MOVE;
    }

    for (v = answer_advices; v->status; v++) {

        if (v->status == a->status) {
            return v->advice;
        }
    }

    return 0;
}


llm_str_t
llm_error_text(const llm_answer_t *a)
{
    llm_str_t  body;

    body = a->body;

    if (a->coded) {
        body.len = 0;
    }

    if (body.len > LLM_ERROR_BODY) {
        body.len = LLM_ERROR_BODY;
    }

    return llm_json_trim(body);
}


unsigned
llm_error_number(llm_str_t value)
{
    size_t    i;
    unsigned  n;

    if (value.len != 3) {
        return 0;
    }

    n = 0;

    for (i = 0; i < value.len; i++) {

        if (value.data[i] < '0' || value.data[i] > '9') {
            return 0;
        }

        n = n * 10 + (unsigned) (value.data[i] - '0');
    }

    return (n >= 400 && n < 600) ? n : 0;
}


int
llm_error_named(const llm_error_name_t *names, llm_str_t value)
{
    for ( /* void */ ; names->name; names++) {

        if (llm_json_equals(value, names->name)) {
            return (int) names->outcome;
        }
    }

    return LLM_ERROR_NONE;
}


static int
answer_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || (c & 0x80);
}


/*
 * Leaves out what is in quotation marks.  An apostrophe stands behind a letter
 * and is none; a quotation that isn't closed goes on to the end.
 */

static size_t
answer_unquoted(char *text, size_t len)
{
    char    c, quote;
    size_t  i, n;

    quote = 0;
    n = 0;

    for (i = 0; i < len; i++) {
        c = text[i];

        if (quote) {

            if (c == quote && !(c == '\'' && i + 1 < len
                                && answer_letter(text[i + 1])))
            {
                quote = 0;
            }

            continue;
        }

        if (c == '"'
            || (c == '\'' && (i == 0 || !answer_letter(text[i - 1]))))
        {
            quote = c;
            continue;
        }

        text[n++] = c;
    }

    return n;
}


static int
answer_text(llm_str_t message)
{
    char                     text[LLM_ERROR_TEXT + 1];
    size_t                   i, len;
    const llm_error_name_t  *t;

    len = llm_json_prefix(message, (unsigned char *) text, LLM_ERROR_TEXT);
    len = answer_unquoted(text, len);
    text[len] = '\0';

    for (i = 0; i < len; i++) {

        if (text[i] >= 'A' && text[i] <= 'Z') {
            text[i] |= 0x20;
        }
    }

    for (t = answer_texts; t->name; t++) {

        if (strstr(text, t->name)) {
            return (int) t->outcome;
        }
    }

    return LLM_ERROR_NONE;
}


res_outcome_e
llm_error_refine(res_outcome_e outcome, int named, llm_str_t message,
    uint32_t finer)
{
    if (named == LLM_ERROR_NONE || named == RES_CLIENT_ERROR) {
        named = answer_text(message);
    }

    if (named == LLM_ERROR_NONE || !(finer & res_bit(named))) {
        return outcome;
    }

    return (res_outcome_e) named;
}


const char *
llm_error_type(const llm_error_type_t *types, unsigned status)
{
    while (types->status && types->status != status) {
        types++;
    }

    return types->type;
}


int
llm_path_segment(llm_str_t path, const char *before, const char *ends,
    llm_str_t *segment)
{
    size_t                len, n;
    const unsigned char  *p, *last;

    n = strlen(before);
    p = path.data;
    last = p + path.len;

    while ((size_t) (last - p) >= n && memcmp(p, before, n) != 0) {
        p++;
    }

    if ((size_t) (last - p) < n) {
        return 0;
    }

    p += n;

    for (len = 0; p + len < last; len++) {

        if (p[len] == '\0' || strchr(ends, p[len])) {
            break;
        }
    }

    segment->data = p;
    segment->len = len;

    return len != 0;
}


void
llm_out_bytes(llm_out_t *out, llm_str_t text)
{
    if (out->buf && text.len) {
        memcpy(out->buf + out->len, text.data, text.len);
    }

    out->len += text.len;
}


void
llm_out_text(llm_out_t *out, const char *text)
{
    llm_str_t  s;

    s.len = strlen(text);
    s.data = (const unsigned char *) text;

    llm_out_bytes(out, s);
}


void
llm_out_number(llm_out_t *out, uint64_t n)
{
    char   text[24];
    char  *p;

    p = text + sizeof(text);
    *--p = '\0';

    do {
        *--p = (char) ('0' + n % 10);
        n /= 10;
    } while (n);

    llm_out_text(out, p);
}


void
llm_out_json(llm_out_t *out, const char *text)
{
    llm_str_t  s;

    s.len = strlen(text);
    s.data = (const unsigned char *) text;

    out->len += llm_json_escape(out->buf ? out->buf + out->len : NULL, s);
}
