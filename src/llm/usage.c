
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "json_string.h"
#include "usage.h"

#include <string.h>


#define USAGE_DIGITS  15           /* more than anyone will ever take */


void
llm_usage_init(llm_usage_t *u)
{
    u->input = -1;
    u->output = -1;
}


int64_t
llm_usage_number(llm_str_t value)
{
    size_t   i;
    int64_t  n;

    if (value.len == 0 || value.len > USAGE_DIGITS) {
        return -1;
    }

    n = 0;

    for (i = 0; i < value.len; i++) {

        if (value.data[i] < '0' || value.data[i] > '9') {
            return -1;
        }

        n = n * 10 + (value.data[i] - '0');
    }

    return n;
}


void
llm_usage_most(int64_t *tokens, int64_t n)
{
    if (n > *tokens) {
        *tokens = n;
    }
}


void
llm_usage_note(int64_t *tokens, llm_str_t value)
{
    llm_usage_most(tokens, llm_usage_number(value));
}


/* is it worth a closer look?  No one escapes the letters of these names */

static int
usage_named(llm_str_t text, const char *name)
{
    size_t                len;
    const char           *dot;
    const unsigned char  *p, *last;

    dot = strchr(name, '.');
    name = dot ? dot + 1 : name;
    len = strlen(name);

    p = text.data;
    last = p + text.len;

    while ((size_t) (last - p) >= len) {

        p = memchr(p, name[0], last - p - len + 1);

        if (p == NULL) {
            return 0;
        }

        if (memcmp(p, name, len) == 0) {
            return 1;
        }

        p++;
    }

    return 0;
}


/* a member of the text: does it tell, or one of its own? */

static void
usage_member(const llm_dialect_t *d, llm_str_t key, llm_str_t value,
    llm_usage_t *u)
{
    size_t              len;
    llm_str_t           inner;
    const char *const  *name;

    for (name = d->usage_names; *name; name++) {

        if (!llm_json_alike(key, *name)) {
            continue;
        }

        len = strcspn(*name, ".");

        if (!llm_json_equals_n(key, *name, len)) {
            continue;
        }

        if ((*name)[len] == '\0') {
            d->usage(value, u);

        } else if (llm_json_member(value, *name + len + 1, &inner)) {
            d->usage(inner, u);
        }
    }
}


void
llm_usage_read(const llm_dialect_t *d, llm_str_t text, llm_usage_t *u)
{
    llm_str_t        key, value;
    llm_json_iter_t  it;

    if (d->usage == NULL || text.len == 0
        || !usage_named(text, d->usage_names[0]))
    {
        return;
    }

    llm_json_iter(&it, text);

    while (it.object && llm_json_next(&it, &key, &value)) {
        usage_member(d, key, value, u);
    }
}


void
llm_usage_scan_init(llm_usage_scan_t *s, const llm_dialect_t *d)
{
    unsigned  n;

    for (n = 0; d->usage && d->usage_names[n]; n++) { /* void */ }

    s->dialect = d;
    s->nread = 0;

    llm_json_scan_init(&s->scan, d->usage_names, n, s->buf, LLM_USAGE_TEXT);
}


void
llm_usage_scan(llm_usage_scan_t *s, const unsigned char *data, size_t len,
    llm_usage_t *u)
{
    llm_json_span_t  *span;

    if (s->scan.nnames == 0 || s->scan.status == LLM_JSON_BAD) {
        return;
    }

    (void) llm_json_scan(&s->scan, data, len);

    while (s->nread < s->scan.nspans && s->nread < LLM_JSON_SPANS) {

        span = &s->scan.spans[s->nread++];

        s->dialect->usage(llm_json_scan_text(&s->scan, span), u);
    }
}


void
llm_usage_scan_stop(llm_usage_scan_t *s)
{
    s->scan.status = LLM_JSON_BAD;
}
