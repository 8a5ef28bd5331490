
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "sse.h"

#include <string.h>


typedef enum {
    SSE_BOM = 0,                 /* at the very start */
    SSE_LINE,                    /* at a line's start */
    SSE_FIELD,                   /* in a field's name */
    SSE_SPACE,                   /* behind the colon */
    SSE_DATA,
    SSE_NAME,
    SSE_SKIP                     /* the rest of the line is of no interest */
} sse_state_e;


static const unsigned char  sse_bom[] = { 0xef, 0xbb, 0xbf };


void
llm_sse_init(llm_sse_t *s, unsigned char *buf, size_t size)
{
    memset(s, 0, sizeof(llm_sse_t));

    s->buf = buf;
    s->size = size;
}


void
llm_sse_shorten(llm_sse_t *s)
{
    s->shorten = 1;
}


int
llm_sse_begun(const llm_sse_t *s, uint64_t *start)
{
    *start = s->start;

    return s->pending;
}


int
llm_sse_between(const llm_sse_t *s)
{
    return !s->open;
}


/* the first CR or LF, or last */

static const unsigned char *
sse_line_end(const unsigned char *p, const unsigned char *last)
{
    uint64_t  w;

    while (last - p >= 8) {
        w = llm_word(p);
        w = llm_word_has(w, '\n') | llm_word_has(w, '\r');

        if (w) {
            return p + llm_word_first(w);
        }

        p += 8;
    }

    while (p < last && *p != '\n' && *p != '\r') {
        p++;
    }

    return p;
}


/* what was gathered so far makes room */

static void
sse_digest(llm_sse_t *s, const unsigned char *data, size_t len)
{
    if (!s->cut) {
        s->cut = 1;

        memset(&s->digest, 0, sizeof(llm_digest_t));
        s->len = llm_digest(&s->digest, s->buf, s->len, s->buf, s->len);
    }

    s->len += llm_digest(&s->digest, data, len, s->buf + s->len,
                         s->size - s->len);
}


static void
sse_gather(llm_sse_t *s, const unsigned char *data, size_t len)
{
    if (s->cut || len > s->size - s->len) {

        if (s->over) {

            if (!s->cut) {
                s->over(s->ctx, s->buf, s->len, 1);
            }

            s->over(s->ctx, data, len, 0);
        }

        if (s->shorten) {
            sse_digest(s, data, len);
            return;
        }

        s->cut = 1;

        if (len > s->size - s->len) {
            len = s->size - s->len;
        }
    }

    if (len) {
        memcpy(s->buf + s->len, data, len);
        s->len += len;
    }
}


/* the piece, or the only line, is over: what lies in place has to be kept */

static void
sse_keep(llm_sse_t *s)
{
    if (s->place.data) {
        sse_gather(s, s->place.data, s->place.len);
        s->place.data = NULL;
    }
}


static int
sse_is_field(const llm_sse_t *s, const char *name, unsigned len)
{
    return s->field_len == len && memcmp(s->field, name, len) == 0;
}


/* the field's name is known, its value begins at p */

static void
sse_value(llm_sse_t *s, const unsigned char *p)
{
    s->state = SSE_SKIP;

    if (sse_is_field(s, "event", 5)) {
        s->state = SSE_NAME;
        s->name_len = 0;
        return;
    }

    if (!sse_is_field(s, "data", 4)) {
        return;
    }

    s->state = SSE_DATA;

    if (s->has_data) {
        sse_keep(s);
        sse_gather(s, (const unsigned char *) "\n", 1);
        return;
    }

    s->has_data = 1;
    s->place.data = p;
    s->place.len = 0;
}


/* bytes of a value, none of which ends the line */

static void
sse_text(llm_sse_t *s, const unsigned char *p, size_t len)
{
    if (s->state == SSE_DATA) {

        if (s->place.data) {
            s->place.len += len;

        } else {
            sse_gather(s, p, len);
        }

    } else if (s->state == SSE_NAME) {

        if (len > LLM_SSE_NAME - s->name_len) {
            len = LLM_SSE_NAME - s->name_len;
        }

        memcpy(s->name + s->name_len, p, len);
        s->name_len += (unsigned) len;
    }
}


static const unsigned char *
sse_skip_bom(llm_sse_t *s, const unsigned char *p)
{
    if (*p == sse_bom[s->bom]) {
        s->open = 1;

        if (++s->bom == sizeof(sse_bom)) {
            s->open = 0;
            s->state = SSE_LINE;
        }

        return p + 1;
    }

    /* the start of a mark that is none is the start of an unknown field */

    s->state = s->bom ? SSE_SKIP : SSE_LINE;
    s->pending = (s->bom != 0);

    return p;
}


static const unsigned char *
sse_line(llm_sse_t *s, const unsigned char *p)
{
    s->open = 1;
    s->field_len = 0;

    if (*p == ':') {
        s->state = SSE_SKIP;
        return p + 1;
    }

    if (!s->pending) {
        s->start = s->offset + (uint64_t) (p - s->piece);
    }

    s->pending = 1;
    s->state = SSE_FIELD;

    return p;
}


static const unsigned char *
sse_field(llm_sse_t *s, const unsigned char *p)
{
    if (*p == ':') {
        s->state = SSE_SPACE;
        return p + 1;
    }

    if (s->field_len == sizeof(s->field)) {
        s->state = SSE_SKIP;
        return p;
    }

    s->field[s->field_len++] = *p;

    return p + 1;
}


static const unsigned char *
sse_step(llm_sse_t *s, const unsigned char *p, const unsigned char *last)
{
    const unsigned char  *q;

    switch (s->state) {

    case SSE_BOM:
        return sse_skip_bom(s, p);

    case SSE_LINE:
        return sse_line(s, p);

    case SSE_FIELD:
        return sse_field(s, p);

    case SSE_SPACE:
        p += (*p == ' ');
        sse_value(s, p);
        return p;

    default:
        q = sse_line_end(p, last);
        sse_text(s, p, q - p);
        return q;
    }
}


/* a blank line: returns 1 if it ends an event that has data */

static int
sse_dispatch(llm_sse_t *s, llm_event_t *event)
{
    int  found;

    found = s->has_data;

    event->name.len = s->name_len;
    event->name.data = s->name;
    event->cut = s->cut;
    event->start = s->start;

    if (s->place.data) {
        event->data = s->place;

    } else {
        event->data.len = s->len;
        event->data.data = s->buf;
    }

    /* the bytes stay for the caller until the next call */

    s->place.data = NULL;
    s->len = 0;
    s->name_len = 0;
    s->has_data = 0;
    s->cut = 0;
    s->pending = 0;
    s->open = 0;

    return found;
}


/* p is at a line's end; returns 1 if an event is complete */

static int
sse_end_line(llm_sse_t *s, const unsigned char *p, llm_event_t *event)
{
    unsigned  state;

    if (s->state == SSE_FIELD || s->state == SSE_SPACE) {
        sse_value(s, p);
    }

    state = s->state;

    s->state = SSE_LINE;
    s->open = s->pending;

    return state <= SSE_LINE && sse_dispatch(s, event);
}


int
llm_sse_next(llm_sse_t *s, const unsigned char **pos,
    const unsigned char *last, llm_event_t *event)
{
    int                   found;
    const unsigned char  *p;

    s->piece = *pos;

    for (p = *pos; p < last; /* void */ ) {

        if (s->cr && *p == '\n') {
            s->cr = 0;
            p++;
            continue;
        }

        s->cr = 0;

        if (*p != '\n' && *p != '\r') {
            p = sse_step(s, p, last);
            continue;
        }

        if (s->state == SSE_BOM && s->bom) {
            (void) sse_skip_bom(s, p);
        }

        s->cr = (*p == '\r');

        found = sse_end_line(s, p++, event);

        if (!found) {
            continue;
        }

        if (s->cr && p < last && *p == '\n') {
            s->cr = 0;
            p++;
        }

        s->offset += (uint64_t) (p - *pos);
        *pos = p;
        return 1;
    }

    sse_keep(s);
    s->offset += (uint64_t) (p - *pos);
    *pos = p;

    return 0;
}
