
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "keys.h"

#include <string.h>


static llm_str_t keys_line(llm_keys_t *keys);
static llm_key_e keys_check(llm_str_t key);


void
llm_keys_init(llm_keys_t *keys, llm_str_t text)
{
    keys->pos = text.data;
    keys->last = text.data + text.len;
    keys->line = 0;

    if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0) {
        keys->pos += 3;
    }
}


llm_key_e
llm_keys_next(llm_keys_t *keys, llm_str_t *key)
{
    while (keys->pos < keys->last) {

        *key = keys_line(keys);

        if (key->len != 0 && key->data[0] != '#') {
            return keys_check(*key);
        }
    }

    return LLM_KEY_END;
}


static llm_str_t
keys_line(llm_keys_t *keys)
{
    llm_str_t             line;
    const unsigned char  *p, *end;

    p = keys->pos;
    end = memchr(p, '\n', (size_t) (keys->last - p));

    if (end == NULL) {
        end = keys->last;
    }

    keys->pos = (end < keys->last) ? end + 1 : end;
    keys->line++;

    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }

    while (end > p && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) {
        end--;
    }

    line.data = p;
    line.len = (size_t) (end - p);

    return line;
}


static llm_key_e
keys_check(llm_str_t key)
{
    size_t  i;

    if (key.len > LLM_KEY_MAX) {
        return LLM_KEY_LONG;
    }

    for (i = 0; i < key.len; i++) {
        if (key.data[i] <= ' ' || key.data[i] >= 0x7f) {
            return LLM_KEY_BAD;
        }
    }

    return LLM_KEY_GOOD;
}
