
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
llm_json_scan_init(llm_json_scan_t *s, const char *name)
{
    memset(s, 0, sizeof(llm_json_scan_t));

    s->name = name;
    s->name_len = name ? strlen(name) : 0;
    s->state = name ? JSON_START : JSON_VALUE;
}


static void
json_match(llm_json_scan_t *s, const unsigned char *data, size_t len)
{
    if (len > s->name_len - s->match
        || memcmp(s->name + s->match, data, len) != 0)
    {
        s->matching = 0;
        return;
    }

    s->match += len;
}


static void
json_capture(llm_json_scan_t *s, const unsigned char *data, size_t len)
{
    if (len > LLM_JSON_VALUE - s->value_len) {
        s->capture = 0;
        s->value_len = 0;
        return;
    }

    memcpy(s->value + s->value_len, data, len);
    s->value_len += (uint32_t) len;
}


/* does the text of the string at hand matter? */

static int
json_listens(const llm_json_scan_t *s)
{
    return s->capture || (s->in_key && s->depth == 1 && s->matching);
}


/* decoded bytes of such a string */

static void
json_put(llm_json_scan_t *s, const unsigned char *data, size_t len)
{
    if (s->capture) {
        json_capture(s, data, len);

    } else if (json_listens(s)) {
        json_match(s, data, len);
    }
}


static uint64_t
json_offset(const llm_json_scan_t *s, const unsigned char *p)
{
    return s->offset + (uint64_t) (p - s->piece);
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

    if (s->depth == 1 && s->matching) {

        if (s->nspans < LLM_JSON_SPANS) {
            s->spans[s->nspans].start = s->start;
            s->spans[s->nspans].end = json_offset(s, p);
        }

        s->nspans++;
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
    s->capture = 0;

    if (s->depth == 1) {
        s->matching = (s->name != NULL);
        s->match = 0;
    }

    return json_string_start(s, p);
}


/* behind the closing quote */

static const unsigned char *
json_string_end(llm_json_scan_t *s, const unsigned char *p)
{
    if (s->in_key) {

        if (s->depth == 1 && s->match != s->name_len) {
            s->matching = 0;
        }

        s->in_key = 0;
        s->state = JSON_COLON;
        return p;
    }

    if (s->capture) {
        s->string = 1;
    }

    return json_value_end(s, p);
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
    s->capture = 0;

    if (s->depth == 1 && s->matching) {
        s->start = json_offset(s, p);
        s->capture = (*p == '"');
        s->value_len = 0;
        s->string = 0;
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
json_token(llm_json_scan_t *s, const unsigned char *p)
{
    if (llm_json_space(*p)) {
        return p + 1;
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


/* the first byte that doesn't simply stand for itself */

static const unsigned char *
json_plain(const unsigned char *p, const unsigned char *last)
{
    uint64_t  w;

    while (last - p >= 8) {
        memcpy(&w, p, 8);

        if (llm_word_has(w, '"') | llm_word_has(w, '\\')
            | llm_word_below(w, 0x20))
        {
            break;
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


static const unsigned char *
json_text(llm_json_scan_t *s, const unsigned char *p,
    const unsigned char *last)
{
    const unsigned char  *q;

    if (!json_listens(s)) {
        return json_skip_text(p, last);
    }

    q = json_plain(p, last);
    json_put(s, p, q - p);

    return q;
}


/* as many bytes as can be read at once, and the byte behind them */

static const unsigned char *
json_string(llm_json_scan_t *s, const unsigned char *p,
    const unsigned char *last)
{
    int            n;
    unsigned char  out[LLM_JSON_STEP];

    if (s->text.state == LLM_JSON_PLAIN && s->text.high == 0) {
        p = json_text(s, p, last);
    }

    if (p == last) {
        return p;
    }

    n = llm_json_string(&s->text, *p, out);

    if (n < 0) {
        return NULL;
    }

    json_put(s, out, n);

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
        return json_token(s, p);
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

    for (p = data; p < last && s->status != LLM_JSON_BAD; /* void */ ) {

        p = json_step(s, p, last);

        if (p == NULL) {
            s->status = LLM_JSON_BAD;
            break;
        }
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

    llm_json_scan_init(&s, NULL);
    (void) llm_json_scan(&s, text.data, text.len);

    return llm_json_scan(&s, (const unsigned char *) " ", 1) == LLM_JSON_DONE
           && llm_json_utf8(text);
}
