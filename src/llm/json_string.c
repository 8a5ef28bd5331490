
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "json_string.h"

#include <string.h>


#define JSON_REPLACEMENT  0xfffd


static int
json_hex(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}


static int
json_encode(unsigned char *out, uint32_t c)
{
    int  n;

    if (c < 0x80) {
        *out = (unsigned char) c;
        return 1;
    }

    n = 0;

    if (c < 0x800) {
        out[n++] = (unsigned char) (0xc0 | c >> 6);

    } else {

        if (c < 0x10000) {
            out[n++] = (unsigned char) (0xe0 | c >> 12);

        } else {
            out[n++] = (unsigned char) (0xf0 | c >> 18);
            out[n++] = (unsigned char) (0x80 | (c >> 12 & 0x3f));
        }

        out[n++] = (unsigned char) (0x80 | (c >> 6 & 0x3f));
    }

    out[n++] = (unsigned char) (0x80 | (c & 0x3f));

    return n;
}


/* the other half of a surrogate pair didn't come */

static int
json_lone(llm_json_string_t *s, unsigned char *out)
{
    if (s->high == 0) {
        return 0;
    }

    s->high = 0;

    return json_encode(out, JSON_REPLACEMENT);
}


static int
json_unicode(llm_json_string_t *s, unsigned char *out)
{
    int       n;
    uint32_t  c;

    c = s->unicode;

    if (s->high && c >= 0xdc00 && c <= 0xdfff) {
        c = 0x10000 + ((s->high - 0xd800) << 10) + (c - 0xdc00);
        s->high = 0;
        return json_encode(out, c);
    }

    n = json_lone(s, out);

    if (c >= 0xd800 && c <= 0xdbff) {
        s->high = c;
        return n;
    }

    if (c >= 0xdc00 && c <= 0xdfff) {
        c = JSON_REPLACEMENT;
    }

    return n + json_encode(out + n, c);
}


static int
json_byte(llm_json_string_t *s, unsigned char c, unsigned char *out)
{
    int  n;

    n = json_lone(s, out);
    out[n] = c;

    s->state = LLM_JSON_PLAIN;

    return n + 1;
}


static int
json_escape(llm_json_string_t *s, unsigned char c, unsigned char *out)
{
    if (c == 'u') {
        s->state = LLM_JSON_HEX;
        s->unicode = 0;
        return 0;
    }

    c = llm_json_unescape(c);

    return c ? json_byte(s, c, out) : -1;
}


static int
json_digit(llm_json_string_t *s, unsigned char c, unsigned char *out)
{
    int  digit;

    digit = json_hex(c);

    if (digit < 0) {
        return -1;
    }

    s->unicode = s->unicode << 4 | (uint32_t) digit;

    if (++s->state < LLM_JSON_HEX_END) {
        return 0;
    }

    s->state = LLM_JSON_PLAIN;

    return json_unicode(s, out);
}


int
llm_json_string(llm_json_string_t *s, unsigned char c, unsigned char *out)
{
    if (s->state == LLM_JSON_ESCAPE) {
        return json_escape(s, c, out);
    }

    if (s->state != LLM_JSON_PLAIN) {
        return json_digit(s, c, out);
    }

    if (c == '\\') {
        s->state = LLM_JSON_ESCAPE;
        return 0;
    }

    if (c == '"') {
        s->state = LLM_JSON_CLOSED;
        return json_lone(s, out);
    }

    return (c < 0x20) ? -1 : json_byte(s, c, out);
}


/* decodes what fits; *whole: that was all, and well-formed */

static size_t
json_decode(llm_str_t value, unsigned char *buf, size_t size, int *whole)
{
    int                n;
    size_t             i, len;
    unsigned char      out[LLM_JSON_STEP];
    llm_json_string_t  s = { 0, 0, 0 };

    len = 0;
    *whole = 0;

    if (value.len == 0 || value.data[0] != '"') {
        return 0;
    }

    for (i = 1; i < value.len; i++) {
        n = llm_json_string(&s, value.data[i], out);

        if (n < 0 || (size_t) n > size - len) {
            break;
        }

        memcpy(buf + len, out, n);
        len += n;

        if (s.state == LLM_JSON_CLOSED) {
            *whole = (i == value.len - 1);
            break;
        }
    }

    return len;
}


size_t
llm_json_decode(llm_str_t value, unsigned char *buf, size_t size)
{
    int     whole;
    size_t  len;

    len = json_decode(value, buf, size, &whole);

    return whole ? len : (size_t) -1;
}


size_t
llm_json_prefix(llm_str_t value, unsigned char *buf, size_t size)
{
    int  whole;

    return json_decode(value, buf, size, &whole);
}


int
llm_json_equals(llm_str_t value, const char *text)
{
    return llm_json_equals_n(value, text, strlen(text));
}


int
llm_json_equals_n(llm_str_t value, const char *text, size_t len)
{
    int                n;
    size_t             i;
    unsigned char      c, out[LLM_JSON_STEP];
    llm_json_string_t  s = { 0, 0, 0 };

    if (value.len < 2 || value.data[0] != '"') {
        return 0;
    }

    /* most bytes stand for themselves, and most strings differ at once */

    for (i = 1; i < value.len && len; i++) {
        c = value.data[i];

        if (c < 0x20 || c == '"' || c == '\\') {
            break;
        }

        if (c != (unsigned char) *text) {
            return 0;
        }

        text++;
        len--;
    }

    for ( /* void */ ; i < value.len; i++) {
        n = llm_json_string(&s, value.data[i], out);

        if (n < 0 || (size_t) n > len || memcmp(text, out, n) != 0) {
            return 0;
        }

        text += n;
        len -= n;

        if (s.state == LLM_JSON_CLOSED) {
            return len == 0 && i == value.len - 1;
        }
    }

    return 0;
}


/*
 * The length of the UTF-8 sequence at p; if it is none, *valid is cleared, and
 * the length is that of its longest well-begun part (Unicode, table 3-7).
 */

static size_t
json_sequence(const unsigned char *p, const unsigned char *last, int *valid)
{
    size_t         i, n;
    unsigned char  low, high;

    if (p[0] < 0x80) {
        return 1;
    }

    if (p[0] < 0xc2 || p[0] > 0xf4) {
        *valid = 0;
        return 1;
    }

    n = (p[0] < 0xe0) ? 2 : (p[0] < 0xf0) ? 3 : 4;

    /* the second byte's range rules out what is overlong or no character */

    low = (p[0] == 0xe0) ? 0xa0 : (p[0] == 0xf0) ? 0x90 : 0x80;
    high = (p[0] == 0xed) ? 0x9f : (p[0] == 0xf4) ? 0x8f : 0xbf;

    for (i = 1; i < n; i++) {

        if (i == (size_t) (last - p) || p[i] < low || p[i] > high) {
            *valid = 0;
            return i;
        }

        low = 0x80;
        high = 0xbf;
    }

    return n;
}


int
llm_json_utf8(llm_str_t text)
{
    int       valid;
    size_t    i;
    uint64_t  w[2];

    valid = 1;

    for (i = 0; i < text.len && valid; /* void */ ) {

        if (text.len - i >= 16) {
            memcpy(w, text.data + i, 16);

            if (!((w[0] | w[1]) & LLM_WORD_HIGH)) {
                i += 16;
                continue;
            }
        }

        i += json_sequence(text.data + i, text.data + text.len, &valid);
    }

    return valid;
}


/* an ASCII byte as it stands inside a string; returns the length */

static size_t
json_quote(unsigned char *out, unsigned char c)
{
    const char  *p;

    static const char  hex[] = "0123456789abcdef";
    static const char  from[] = "\"\\\b\f\n\r\t";
    static const char  to[] = "\"\\bfnrt";

    if (c >= 0x20 && c != '"' && c != '\\') {
        out[0] = c;
        return 1;
    }

    out[0] = '\\';

    p = memchr(from, c, sizeof(from) - 1);

    if (p) {
        out[1] = (unsigned char) to[p - from];
        return 2;
    }

    memcpy(out + 1, "u00", 3);
    out[4] = (unsigned char) hex[c >> 4];
    out[5] = (unsigned char) hex[c & 15];

    return 6;
}


size_t
llm_json_escape(unsigned char *buf, llm_str_t text)
{
    int                   valid;
    size_t                i, len, n, m;
    unsigned char         out[6];
    const unsigned char  *p;

    len = 0;

    for (i = 0; i < text.len; i += n) {

        p = text.data + i;
        valid = 1;
        n = m = json_sequence(p, text.data + text.len, &valid);

        if (!valid) {
            m = (size_t) json_encode(out, JSON_REPLACEMENT);
            p = out;

        } else if (n == 1) {
            m = json_quote(out, *p);
            p = out;
        }

        if (buf) {
            memcpy(buf + len, p, m);
        }

        len += m;
    }

    return len;
}
