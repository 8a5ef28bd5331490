
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "digest.h"


/*
 * A string is cut between two characters only: not inside of an escape or of
 * a character in UTF-8, nor between the halves of a pair of surrogates.
 */

static int
digest_boundary(const llm_digest_t *d, unsigned char c)
{
    return !d->escape && d->hex == 0 && !d->half && (c & 0xc0) != 0x80;
}


/* the four digits behind \u: D8.. to DB.. are the first half of a pair */

static void
digest_hex(llm_digest_t *d, unsigned char c)
{
    c |= 0x20;

    if (d->hex == 4) {
        d->digit = (c == 'd');
        d->half = 0;

    } else if (d->hex == 3 && d->digit) {
        d->half = (c == '8' || c == '9' || c == 'a' || c == 'b');
    }

    d->hex--;
}


/* a byte inside of a string; returns 1 if it is kept */

static int
digest_string(llm_digest_t *d, unsigned char c)
{
    if (d->run >= LLM_DIGEST_STRING && digest_boundary(d, c)) {
        d->drop = 1;
    }

    d->run++;

    if (d->escape) {
        d->escape = 0;

        if (c == 'u') {
            d->hex = 4;

        } else {
            d->half = 0;
        }

        return !d->drop;
    }

    if (d->hex) {
        digest_hex(d, c);
        return !d->drop;
    }

    if (c == '"') {
        d->string = 0;
        return 1;
    }

    if (c == '\\') {
        d->escape = 1;

    } else {
        d->half = 0;
    }

    return !d->drop;
}


/* any byte; returns 1 if it is kept */

static int
digest_byte(llm_digest_t *d, unsigned char c)
{
    int  keep;

    keep = (d->depth <= LLM_DIGEST_DEPTH);

    if (d->string) {
        return digest_string(d, c) && keep;
    }

    switch (c) {

    case '"':
        d->string = 1;
        d->drop = 0;
        d->half = 0;
        d->run = 0;
        return keep;

    case '{':
    case '[':
        d->depth++;
        return keep;

    case '}':
    case ']':
        d->depth -= (d->depth != 0);
        return d->depth <= LLM_DIGEST_DEPTH;

    case ' ':
    case '\t':
    case '\n':
    case '\r':
        return 0;

    default:
        return keep;
    }
}


size_t
llm_digest(llm_digest_t *d, const unsigned char *data, size_t len,
    unsigned char *out, size_t size)
{
    size_t         n, i;
    unsigned char  c;

    n = 0;

    for (i = 0; i < len; i++) {

        c = data[i];

        if (!digest_byte(d, c) || d->full) {
            continue;
        }

        if (n == size) {
            d->full = 1;
            continue;
        }

        out[n++] = c;
    }

    return n;
}
