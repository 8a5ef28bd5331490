
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "llm/keys.h"
#include "tap.h"

#include <stdlib.h>


typedef struct {
    const char  *name;
    const char  *text;
    const char  *want;   /* line:key, line:! for one that is bad */
} file_t;


static const file_t  files[] = {
    { "nothing", "", "" },
    { "one key", "sk-1", "1:sk-1 " },
    { "one line", "sk-1\n", "1:sk-1 " },
    { "white space around it", " \t sk-1 \t \n", "1:sk-1 " },
    { "CR LF", "sk-1\r\nsk-2\r\n", "1:sk-1 2:sk-2 " },
    { "CR LF, and no end", "sk-1\r\nsk-2\r", "1:sk-1 2:sk-2 " },
    { "blank lines", "\n\nsk-1\n \t\r\n\nsk-2\n\n", "3:sk-1 6:sk-2 " },
    { "comments", "# one\nsk-1\n  # sk-2\n#\nsk-3", "2:sk-1 5:sk-3 " },
    { "nothing but comments", "# sk-1\n\n#sk-2\n", "" },
    { "a # in a key", "sk#1\n", "1:sk#1 " },
    { "a comment behind a key", "sk-1 # one\nsk-2\n", "1:! 2:sk-2 " },
    { "a space in a key", "sk 1\n", "1:! " },
    { "a tab in a key", "sk\t1\n", "1:! " },
    { "a CR in a key", "sk\r1\n", "1:! " },
    { "a header", "sk-1\r\nX-Evil: 1\n", "1:sk-1 2:! " },
    { "a control character", "sk\x01\n", "1:! " },
    { "DEL", "sk\x7f\n", "1:! " },
    { "a no-break space", "sk-1\xc2\xa0\nsk-2", "1:! 2:sk-2 " },
    { "a byte order mark", "\xef\xbb\xbfsk-1\n", "1:sk-1 " },
    { "one that is no first", "sk-1\n\xef\xbb\xbfsk-2\n", "1:sk-1 2:! " },
    { "half of one", "\xef\xbb", "1:! " },
    { "all that is allowed", "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~aA0",
      "1:!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~aA0 " }
};


/* a copy that ends where its memory ends */

static llm_str_t
copy(const char *data, size_t len)
{
    llm_str_t       s;
    unsigned char  *p;

    p = malloc(len ? len : 1);

    if (p == NULL) {
        abort();
    }

    if (len) {
        memcpy(p, data, len);
    }

    s.data = p;
    s.len = len;

    return s;
}


static void
test_file(const file_t *row)
{
    char        got[512];
    size_t      n;
    llm_str_t   text, key;
    llm_key_e   rc;
    llm_keys_t  keys;

    n = 0;
    got[0] = '\0';
    text = copy(row->text, strlen(row->text));

    llm_keys_init(&keys, text);

    while ((rc = llm_keys_next(&keys, &key)) != LLM_KEY_END) {
        n += (size_t) snprintf(got + n, sizeof(got) - n, "%u:%.*s ",
                               keys.line,
                               rc == LLM_KEY_GOOD ? (int) key.len : 1,
                               rc == LLM_KEY_GOOD ? (const char *) key.data
                                                  : "!");
    }

    is_str(got, row->want, "%s", row->name);

    free((void *) text.data);
}


static void
test_long(size_t len, llm_key_e want)
{
    char        *p;
    llm_str_t    text, key;
    llm_keys_t   keys;

    p = malloc(len + 5);

    if (p == NULL) {
        abort();
    }

    memset(p, 'x', len);
    memcpy(p + len, "\nsk-2", 5);

    text = copy(p, len + 5);
    llm_keys_init(&keys, text);

    is_int(llm_keys_next(&keys, &key), want, "%zu bytes", len);
    is_int(llm_keys_next(&keys, &key), LLM_KEY_GOOD, "and the next one");
    is_int(key.len, 4, "its length");
    is_int(llm_keys_next(&keys, &key), LLM_KEY_END, "the end");
    is_int(llm_keys_next(&keys, &key), LLM_KEY_END, "is the end");

    free(p);
    free((void *) text.data);
}


int
main(void)
{
    size_t      i;
    llm_str_t   text, key;
    llm_keys_t  keys;

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        test_file(&files[i]);
    }

    test_long(LLM_KEY_MAX, LLM_KEY_GOOD);
    test_long(LLM_KEY_MAX + 1, LLM_KEY_LONG);

    text = copy("sk\0-1\nsk-2", 10);
    llm_keys_init(&keys, text);
    is_int(llm_keys_next(&keys, &key), LLM_KEY_BAD, "a zero byte");
    is_int(llm_keys_next(&keys, &key), LLM_KEY_GOOD, "and what follows");
    free((void *) text.data);

    return done_testing();
}
