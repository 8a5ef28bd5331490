
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "json_string.h"

#include <string.h>


/*
 * The scanner.  A step begins at a byte and returns where the next one does,
 * or NULL if the text is malformed; what it needs to go on with in another
 * piece is in the state.
 */


typedef enum {
    JSON_START = 0,              /* only an object may begin */
    JSON_VALUE,
    JSON_FIRST_VALUE,            /* or the array's end */
    JSON_KEY,
    JSON_FIRST_KEY,              /* or the object's end */
    JSON_COLON,
    JSON_AFTER,                  /* a comma or the container's end */
    JSON_END,
    JSON_STRING,
    JSON_NUMBER,
    JSON_LITERAL
} json_state_e;


typedef enum {
    NUMBER_BAD = 0,
    NUMBER_OVER,                 /* ended by the byte at hand */
    NUMBER_MINUS,
    NUMBER_ZERO,
    NUMBER_INT,
    NUMBER_DOT,
    NUMBER_FRACTION,
    NUMBER_E,
    NUMBER_SIGN,
    NUMBER_EXPONENT
} json_number_e;


/* a literal's progress is an offset in here */

static const char  json_literals[] = "true\0false\0null";

#define JSON_TRUE   0
#define JSON_FALSE  5
#define JSON_NULL   11


void
llm_json_scan_init(llm_json_scan_t *s, const char *const *names,
    unsigned nnames, unsigned char *buf, size_t size)
{
    s->offset = 0;
    s->status = LLM_JSON_MORE;
    s->nspans = 0;

    s->names = names;
    s->nnames = nnames;
    s->buf = buf;
    s->size = size;
    s->len = 0;

    s->level = 0;
    s->hit = 0;
    s->within = 0;
    s->depth = 0;
    s->in_key = 0;
    s->state = nnames ? JSON_START : JSON_VALUE;
}


llm_str_t
llm_json_scan_text(const llm_json_scan_t *s, const llm_json_span_t *span)
{
    llm_str_t  text = { 0, NULL };

    if (span->at != LLM_JSON_LOST) {
        text.data = s->buf + span->at;
        text.len = (size_t) (span->end - span->start);
    }

    return text;
}


/* of the value at hand, the bytes before p that were not kept yet */

static void
json_keep(llm_json_scan_t *s, const unsigned char *p)
{
    size_t  len;

    if (s->span.at == LLM_JSON_LOST) {
        return;
    }

    len = p - s->from;

    if (len > s->size - s->len) {
        s->len = s->span.at;
        s->span.at = LLM_JSON_LOST;
        return;
    }

    if (len) {
        memcpy(s->buf + s->len, s->from, len);
        s->len += len;
    }
}


/* decoded bytes of a key */

static void
json_put(llm_json_scan_t *s, const unsigned char *data, size_t len)
{
    if (len > LLM_JSON_NAME - s->key_len) {
        s->listens = 0;
        return;
    }

    memcpy(s->key + s->key_len, data, len);
    s->key_len += (unsigned) len;
}


static int
json_is_key(const llm_json_scan_t *s, const char *name, size_t len)
{
    return s->key_len == len && memcmp(s->key, name, len) == 0;
}


/* is the key a name, or the first part of one? */

static void
json_match(llm_json_scan_t *s)
{
    size_t       len;
    unsigned     i;
    const char  *name;

    if (s->depth == 1) {
        s->within = 0;
    }

    for (i = 0; i < s->nnames; i++) {
        name = s->names[i];
        len = strcspn(name, ".");

        if (s->depth == 2) {

            if ((s->within >> i & 1)
                && json_is_key(s, name + len + 1, strlen(name + len + 1)))
            {
                s->hit = i + 1;
            }

            continue;
        }

        if (json_is_key(s, name, len)) {

            if (name[len] == '.') {
                s->within |= 1u << i;

            } else {
                s->hit = i + 1;
            }
        }
    }
}


static uint64_t
json_offset(const llm_json_scan_t *s, const unsigned char *p)
{
    return s->offset + (uint64_t) (p - s->piece);
}


/* a value with one of the names begins at p */

static void
json_span_start(llm_json_scan_t *s, const unsigned char *p)
{
    s->span.start = json_offset(s, p);
    s->span.name = s->hit - 1;
    s->span.at = s->buf ? (uint32_t) s->len : LLM_JSON_LOST;

    s->from = p;
    s->level = s->depth;
    s->hit = 0;
}


static void
json_span_end(llm_json_scan_t *s, const unsigned char *p)
{
    json_keep(s, p);

    s->span.end = json_offset(s, p);
    s->level = 0;

    if (s->nspans < LLM_JSON_SPANS) {
        s->spans[s->nspans] = s->span;
    }

    s->nspans++;
}


/* a value ends before p */

static const unsigned char *
json_value_end(llm_json_scan_t *s, const unsigned char *p)
{
    if (s->depth == 0) {
        s->state = JSON_END;
        s->status = LLM_JSON_DONE;
        return p;
    }

    s->state = JSON_AFTER;

    if (s->depth == s->level) {
        json_span_end(s, p);
    }

    return p;
}


static const unsigned char *
json_open(llm_json_scan_t *s, const unsigned char *p)
{
    unsigned char  bit;

    if (s->depth == LLM_JSON_DEPTH) {
        return NULL;
    }

    bit = (unsigned char) (1 << s->depth % 8);

    if (*p == '{') {
        s->stack[s->depth / 8] |= bit;
        s->state = JSON_FIRST_KEY;

    } else {
        s->stack[s->depth / 8] &= (unsigned char) ~bit;
        s->state = JSON_FIRST_VALUE;
    }

    s->depth++;

    return p + 1;
}


static const unsigned char *
json_close(llm_json_scan_t *s, const unsigned char *p)
{
    s->depth--;

    return json_value_end(s, p + 1);
}


static const unsigned char *
json_after(llm_json_scan_t *s, const unsigned char *p)
{
    int  object;

    object = s->stack[(s->depth - 1) / 8] >> (s->depth - 1) % 8 & 1;

    if (*p == ',') {
        s->state = object ? JSON_KEY : JSON_VALUE;
        return p + 1;
    }

    return (*p == (object ? '}' : ']')) ? json_close(s, p) : NULL;
}


static const unsigned char *
json_string_start(llm_json_scan_t *s, const unsigned char *p)
{
    s->state = JSON_STRING;
    memset(&s->text, 0, sizeof(llm_json_string_t));

    return p + 1;
}


static const unsigned char *
json_key_start(llm_json_scan_t *s, const unsigned char *p)
{
    if (*p != '"') {
        return NULL;
    }

    s->in_key = 1;
    s->listens = (s->level == 0
                  && (s->depth == 1 || (s->depth == 2 && s->within))
                  && s->nnames);
    s->key_len = 0;

    return json_string_start(s, p);
}


/* behind the closing quote */

static const unsigned char *
json_string_end(llm_json_scan_t *s, const unsigned char *p)
{
    if (!s->in_key) {
        return json_value_end(s, p);
    }

    s->in_key = 0;
    s->state = JSON_COLON;

    if (s->listens) {
        json_match(s);

    } else if (s->depth == 1) {
        s->within = 0;
    }

    return p;
}


static const unsigned char *
json_scalar_start(llm_json_scan_t *s, const unsigned char *p,
    json_state_e state, unsigned progress)
{
    s->state = state;
    s->literal = progress;

    return p + 1;
}


static const unsigned char *
json_value(llm_json_scan_t *s, const unsigned char *p)
{
    if (s->hit) {
        json_span_start(s, p);
    }

    switch (*p) {

    case '"':
        return json_string_start(s, p);

    case '{':
    case '[':
        return json_open(s, p);

    case '-':
        return json_scalar_start(s, p, JSON_NUMBER, NUMBER_MINUS);

    case '0':
        return json_scalar_start(s, p, JSON_NUMBER, NUMBER_ZERO);

    case '1': case '2': case '3': case '4': case '5':
    case '6': case '7': case '8': case '9':
        return json_scalar_start(s, p, JSON_NUMBER, NUMBER_INT);

    case 't':
        return json_scalar_start(s, p, JSON_LITERAL, JSON_TRUE + 1);

    case 'f':
        return json_scalar_start(s, p, JSON_LITERAL, JSON_FALSE + 1);

    case 'n':
        return json_scalar_start(s, p, JSON_LITERAL, JSON_NULL + 1);

    default:
        return NULL;
    }
}


/* between tokens, where white space may stand */

static const unsigned char *
json_token(llm_json_scan_t *s, const unsigned char *p,
    const unsigned char *last)
{
    while (llm_json_space(*p)) {

        if (++p == last) {
            return p;
        }
    }

    switch (s->state) {

    case JSON_START:
        return (*p == '{') ? json_open(s, p) : NULL;

    case JSON_FIRST_VALUE:
        return (*p == ']') ? json_close(s, p) : json_value(s, p);

    case JSON_VALUE:
        return json_value(s, p);

    case JSON_FIRST_KEY:
        return (*p == '}') ? json_close(s, p) : json_key_start(s, p);

    case JSON_KEY:
        return json_key_start(s, p);

    case JSON_COLON:
        s->state = JSON_VALUE;
        return (*p == ':') ? p + 1 : NULL;

    case JSON_AFTER:
        return json_after(s, p);

    default: /* JSON_END */
        return NULL;
    }
}


static unsigned
json_number_next(unsigned progress, unsigned char c)
{
    int  digit, e;

    digit = (c >= '0' && c <= '9');
    e = (c == 'e' || c == 'E');

    switch (progress) {

    case NUMBER_MINUS:
        return (c == '0') ? NUMBER_ZERO : digit ? NUMBER_INT : NUMBER_BAD;

    case NUMBER_INT:
        if (digit) {
            return NUMBER_INT;
        }

        /* fall through */

    case NUMBER_ZERO:
        return (c == '.') ? NUMBER_DOT : e ? NUMBER_E : NUMBER_OVER;

    case NUMBER_DOT:
        return digit ? NUMBER_FRACTION : NUMBER_BAD;

    case NUMBER_FRACTION:
        return digit ? NUMBER_FRACTION : e ? NUMBER_E : NUMBER_OVER;

    case NUMBER_E:
        if (c == '-' || c == '+') {
            return NUMBER_SIGN;
        }

        /* fall through */

    case NUMBER_SIGN:
        return digit ? NUMBER_EXPONENT : NUMBER_BAD;

    default: /* NUMBER_EXPONENT */
        return digit ? NUMBER_EXPONENT : NUMBER_OVER;
    }
}


static const unsigned char *
json_number(llm_json_scan_t *s, const unsigned char *p,
    const unsigned char *last)
{
    for ( /* void */ ; p < last; p++) {

        if (*p >= '0' && *p <= '9'
            && (s->literal == NUMBER_INT || s->literal == NUMBER_FRACTION))
        {
            continue;
        }

        s->literal = json_number_next(s->literal, *p);

        if (s->literal == NUMBER_BAD) {
            return NULL;
        }

        if (s->literal == NUMBER_OVER) {
            return json_value_end(s, p);
        }
    }

    return p;
}


static const unsigned char *
json_literal(llm_json_scan_t *s, const unsigned char *p)
{
    if (json_literals[s->literal] != (char) *p) {
        return NULL;
    }

    if (json_literals[++s->literal] == '\0') {
        return json_value_end(s, p + 1);
    }

    return p + 1;
}


/*
 * The first byte that doesn't simply stand for itself.  A word's bytes that are
 * not ASCII are let off all three tests of llm_word_below() at once.
 */

static inline const unsigned char *
json_plain(const unsigned char *p, const unsigned char *last)
{
    uint64_t  w;

    while (last - p >= 8) {
        w = llm_word(p);

        w = (((w ^ LLM_WORD_ONES * '"') - LLM_WORD_ONES)
             | ((w ^ LLM_WORD_ONES * '\\') - LLM_WORD_ONES)
             | (w - LLM_WORD_ONES * 0x20))
            & ~w & LLM_WORD_HIGH;

        if (w) {
            return p + llm_word_first(w);
        }

        p += 8;
    }

    while (p < last && *p != '"' && *p != '\\' && *p >= 0x20) {
        p++;
    }

    return p;
}


/* the same, and over escapes of two bytes, where the text doesn't matter */

static const unsigned char *
json_skip_text(const unsigned char *p, const unsigned char *last)
{
    for ( ;; ) {
        p = json_plain(p, last);

        if (last - p < 2 || *p != '\\' || !llm_json_unescape(p[1])) {
            return p;
        }

        p += 2;
    }
}


/* as many bytes as can be read at once, and the byte behind them */

static const unsigned char *
json_string(llm_json_scan_t *s, const unsigned char *p,
    const unsigned char *last)
{
    int                   n, listens;
    const unsigned char  *q;
    unsigned char         out[LLM_JSON_STEP];

    listens = s->in_key && s->listens;

    if (s->text.state == LLM_JSON_PLAIN && s->text.high == 0) {

        if (listens) {
            q = json_plain(p, last);
            json_put(s, p, q - p);
            p = q;

        } else {
            p = json_skip_text(p, last);
        }

        if (p == last) {
            return p;
        }

        if (*p == '"') {
            return json_string_end(s, p + 1);
        }
    }

    n = llm_json_string(&s->text, *p, out);

    if (n < 0) {
        return NULL;
    }

    if (listens) {
        json_put(s, out, n);
    }

    return (s->text.state == LLM_JSON_CLOSED) ? json_string_end(s, p + 1)
                                              : p + 1;
}


static const unsigned char *
json_step(llm_json_scan_t *s, const unsigned char *p,
    const unsigned char *last)
{
    switch (s->state) {

    case JSON_STRING:
        return json_string(s, p, last);

    case JSON_NUMBER:
        return json_number(s, p, last);

    case JSON_LITERAL:
        return json_literal(s, p);

    default:
        return json_token(s, p, last);
    }
}


llm_json_status_e
llm_json_scan(llm_json_scan_t *s, const unsigned char *data, size_t len)
{
    const unsigned char  *p, *last;

    if (len == 0) {
        return s->status;
    }

    last = data + len;
    s->piece = data;
    s->from = data;

    for (p = data; p < last && s->status != LLM_JSON_BAD; /* void */ ) {

        p = json_step(s, p, last);

        if (p == NULL) {
            s->status = LLM_JSON_BAD;
            break;
        }
    }

    if (s->level && s->status != LLM_JSON_BAD) {
        json_keep(s, last);
    }

    s->offset += len;

    return s->status;
}


int
llm_json_valid(llm_str_t text)
{
    llm_json_scan_t  s;

    if (text.len == 0) {
        return 0;
    }

    /* without a name any value will do; a space ends a number */

    llm_json_scan_init(&s, NULL, 0, NULL, 0);
    (void) llm_json_scan(&s, text.data, text.len);

    return llm_json_scan(&s, (const unsigned char *) " ", 1) == LLM_JSON_DONE
           && llm_json_utf8(text);
}
