
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */

/*
 * SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, 2012): 64 bits of any bytes
 * that cannot be foreseen without the key, so that whoever chooses the bytes
 * does not choose where they go in a table.
 */


#ifndef RES_SIPHASH_H_INCLUDED
#define RES_SIPHASH_H_INCLUDED


#include <stddef.h>
#include <stdint.h>


/* Makes a key of 16 random bytes. */
void res_siphash_key(uint64_t key[2], const unsigned char random[16]);

/* data may be NULL when len is 0 */
uint64_t res_siphash(const uint64_t key[2], const unsigned char *data,
    size_t len);


#endif /* RES_SIPHASH_H_INCLUDED */
