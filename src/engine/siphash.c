
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "siphash.h"


#define res_rotate(x, n)  ((x) << (n) | (x) >> (64 - (n)))


static void res_siphash_mix(uint64_t v[4], uint64_t word);
static void res_siphash_round(uint64_t v[4]);
static uint64_t res_siphash_word(const unsigned char *p, size_t len);


void
res_siphash_key(uint64_t key[2], const unsigned char random[16])
{
    key[0] = res_siphash_word(random, 8);
    key[1] = res_siphash_word(random + 8, 8);
}


uint64_t
res_siphash(const uint64_t key[2], const unsigned char *data, size_t len)
{
    size_t    i;
    uint64_t  v[4];

    v[0] = key[0] ^ 0x736f6d6570736575;
    v[1] = key[1] ^ 0x646f72616e646f6d;
    v[2] = key[0] ^ 0x6c7967656e657261;
    v[3] = key[1] ^ 0x7465646279746573;

    for (i = 0; len - i >= 8; i += 8) {
        res_siphash_mix(v, res_siphash_word(data + i, 8));
    }

    res_siphash_mix(v, (uint64_t) len << 56
                       | (len - i ? res_siphash_word(data + i, len - i) : 0));

    v[2] ^= 0xff;

    for (i = 0; i < 4; i++) {
        res_siphash_round(v);
    }

    return v[0] ^ v[1] ^ v[2] ^ v[3];
}


static void
res_siphash_mix(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    res_siphash_round(v);
    res_siphash_round(v);
    v[0] ^= word;
}


static void
res_siphash_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = res_rotate(v[1], 13) ^ v[0];
    v[3] = res_rotate(v[3], 16) ^ v[2];
    v[0] = res_rotate(v[0], 32);

    v[2] += v[1];
    v[0] += v[3];
    v[1] = res_rotate(v[1], 17) ^ v[2];
    v[3] = res_rotate(v[3], 21) ^ v[0];
    v[2] = res_rotate(v[2], 32);
}


/* little-endian, of 8 bytes at most */

static uint64_t
res_siphash_word(const unsigned char *p, size_t len)
{
    uint64_t  word;

    word = 0;

    while (len--) {
        word = word << 8 | p[len];
    }

    return word;
}
