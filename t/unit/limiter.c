
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/limiter.h"
#include "engine/siphash.h"
#include "tap.h"

#include <stdlib.h>


#define NS      1000000
#define KEYS    64


static const unsigned char  secret[16] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
};


static uint64_t  seed;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


static res_limiter_t *
create(uint32_t sets)
{
    res_limiter_t  *l;

    l = aligned_alloc(RES_LIMITER_SET, res_limiter_bytes(sets));

    if (l == NULL) {
        abort();
    }

    memset(l, 0xee, res_limiter_bytes(sets));
    res_limiter_init(l, sets, secret);

    return l;
}


static void
test_sizes(void)
{
    size_t  i;

    static const struct {
        size_t    bytes;
        uint32_t  sets;
    } sizes[] = {
        { 0, 0 }, { 1, 0 }, { 127, 0 }, { 128, 0 }, { 255, 0 }, { 256, 1 },
        { 383, 1 }, { 384, 2 }, { 4096, 31 }, { 524288, 4095 }
    };

    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        is_int(res_limiter_sets(sizes[i].bytes), sizes[i].sets,
               "sets in %zu bytes", sizes[i].bytes);

        ok(sizes[i].sets == 0
           || res_limiter_bytes(sizes[i].sets) <= sizes[i].bytes,
           "and they fit");
    }
}


/*
 * Takes of keys, by letter, at times, in a limiter of one set: "a" is allowed,
 * "a!" is refused; "+100" is ms.  Every key has 2 units, one comes back in
 * 100 ms.  The number is that of takes that found no place.
 */

typedef struct {
    const char  *name;
    const char  *words;
    int          full;
} takes_t;


static const takes_t  takes[] = {
    { "a key", "a a a! +99 a! +1 a a!", 0 },
    { "keys have each their own", "a a b b a! b! c c d d c! d!", 0 },
    { "eight places",
      "a b c d e f g h a b c d e f g h a! b! c! d! e! f! g! h!", 0 },
    { "a ninth one has no limit", "a b c d e f g h i i i i a a! h h!", 4 },
    { "until one of the eight is idle",
      "a b c d e f g h i +100 i i i! a b", 1 },
    { "its place is taken by then", "a b c d e f g h +100 i i j j k k l l m m "
      "n n o o p p a a a a +200 a a a!", 4 },
    { "what is idle is nothing lost",
      "a a +200 b c d e f g h i +100 a a a!", 0 },
    { "one that is met again has its place",
      "a b c d e f g h +99 a +1 i i i! j j j! k k k! a a!", 0 }
};


static void
test_takes(const takes_t *t)
{
    int                     allowed, want;
    char                    text[256], *word, *last;
    uint64_t                now, hash;
    res_limiter_t          *l;
    const char             *wrong;
    res_gcra_result_t       r;

    static const res_gcra_conf_t  conf = { 10, 1000, 1 };

    l = create(1);
    now = 123456;
    wrong = NULL;

    (void) snprintf(text, sizeof(text), "%s", t->words);

    for (word = strtok_r(text, " ", &last); word;
         word = strtok_r(NULL, " ", &last))
    {
        if (word[0] == '+') {
            now += (uint64_t) atoi(word + 1);
            continue;
        }

        hash = res_siphash(l->key, (unsigned char *) word, 1);
        allowed = res_limiter_take(l, hash, &conf, 1, now, &r);
        want = (word[1] != '!');

        if (allowed != want || r.allowed != want
            || (r.retry_after > 0) != !want)
        {
            wrong = word;
            break;
        }
    }

    ok(wrong == NULL, "%s: %s", t->name, t->words);

    if (wrong) {
        printf("# at \"%s\"\n", wrong);
    }

    is_int(l->full, t->full, "%s: without a place", t->name);

    free(l);
}


/* in a limiter with places enough every key behaves as if it were alone */

static void
test_model(uint64_t n, uint32_t sets)
{
    int                 i;
    int64_t             delta;
    uint32_t            k, cost;
    uint64_t            now, hash;
    res_gcra_t          model[KEYS];
    const char         *differs;
    res_limiter_t      *l, *other;
    res_gcra_result_t   r, want;

    static const res_gcra_conf_t  confs[] = {
        { 60, 60000, 19 }, { 100000, 60000, 99999 }, { 3, 1000, 0 },
        { 1000, 3600000, 9 }
    };

    seed = n * 0x9e3779b97f4a7c15 + 1;
    differs = NULL;
    now = number(UINT32_MAX);

    memset(model, 0, sizeof(model));

    l = create(sets);

    for (i = 0; i < 50000 && differs == NULL; i++) {

        if (number(4) == 0) {
            now += number(1000);
        }

        if (number(5000) == 0) {

            /* a zone of another size */

            other = create(sets + number(sets));
            res_limiter_copy(other, l, now);
            free(l);
            l = other;
        }

        k = number(KEYS);
        hash = res_siphash(l->key, (unsigned char *) &k, sizeof(k));

        if (number(4) == 0) {
            delta = (int64_t) number(20000) - 10000;

            res_limiter_settle(l, hash, &confs[k % 4], delta, now);
            res_gcra_settle(&model[k], &confs[k % 4], delta, now);
            continue;
        }

        cost = number(confs[k % 4].burst / 4 + 2);

        memset(&r, 0, sizeof(r));
        memset(&want, 0, sizeof(want));

        (void) res_limiter_take(l, hash, &confs[k % 4], cost, now, &r);
        (void) res_gcra_take(&model[k], &confs[k % 4], cost, now, &want);

        if (r.allowed != want.allowed || r.retry_after != want.retry_after
            || r.remaining != want.remaining || r.reset != want.reset)
        {
            differs = "a take";
        }
    }

    ok(differs == NULL, "%u sets, like the model, seed %llu: %s at step %d",
       sets, (unsigned long long) n, differs ? differs : "nothing else", i);
    is_int(l->full, 0, "each found a place");

    free(l);
}


/* with too few places, what a key is refused for it has taken itself */

static void
test_crowded(void)
{
    int                 i, wrong;
    uint32_t            k;
    uint64_t            now, hash;
    res_gcra_t          model[KEYS];
    res_limiter_t      *l;
    res_gcra_result_t   r;

    static const res_gcra_conf_t  conf = { 10, 1000, 4 };

    seed = 42;
    now = 1000;
    wrong = 0;

    memset(model, 0, sizeof(model));

    l = create(2);

    for (i = 0; i < 200000; i++) {
        now += number(4);
        k = number(KEYS);
        hash = res_siphash(l->key, (unsigned char *) &k, sizeof(k));

        if (res_limiter_take(l, hash, &conf, 1, now, &r)) {
            res_gcra_settle(&model[k], &conf, 1, now);

        } else {
            wrong += res_gcra_take(&model[k], &conf, 1, now, &r);
        }
    }

    is_int(wrong, 0, "crowded: none is refused for others");
    ok(l->full > 0 && l->full < (uint64_t) i,
       "crowded: %llu of %d found no place", (unsigned long long) l->full, i);

    free(l);
}


/* keys go to all sets */

static void
test_spread(void)
{
    uint32_t            k, n, used;
    res_limiter_t      *l;
    res_limiter_set_t  *sets;
    res_gcra_result_t   r;

    static const res_gcra_conf_t  conf = { 1, 1000, 0 };

    l = create(1000);
    sets = (res_limiter_set_t *) (l + 1);

    for (k = 0; k < 1000; k++) {
        (void) res_limiter_take(l, res_siphash(l->key, (unsigned char *) &k,
                                               sizeof(k)),
                                &conf, 1, 1000, &r);
    }

    used = 0;

    for (n = 0; n < 1000; n++) {
        used += !res_gcra_idle(&sets[n].entries[0].gcra, 1000);
    }

    /* 1 - 1/e of them are expected, within 15 */

    ok(used > 570 && used < 700, "1000 keys are in %u of 1000 sets", used);

    for ( /* void */ ; k < 2000; k++) {
        (void) res_limiter_take(l, res_siphash(l->key, (unsigned char *) &k,
                                               sizeof(k)),
                                &conf, 1, 1000, &r);
    }

    ok(l->full <= 2, "%llu of them had no place, at a quarter",
       (unsigned long long) l->full);

    for ( /* void */ ; k < 4000; k++) {
        (void) res_limiter_take(l, res_siphash(l->key, (unsigned char *) &k,
                                               sizeof(k)),
                                &conf, 1, 1000, &r);
    }

    ok(l->full <= 60, "%llu of them had no place, at a half",
       (unsigned long long) l->full);

    free(l);
}


/* what is idle is not copied, and what has no place is done without */

static void
test_copy(void)
{
    uint32_t            k;
    uint64_t            hash;
    res_limiter_t      *from, *to;
    res_gcra_result_t   r;

    static const unsigned char    random[16] = { 42 };
    static const res_gcra_conf_t  conf = { 10, 1000, 0 };

    from = create(8);
    to = create(1);

    res_limiter_init(to, 1, random);
    ok(to->key[0] != from->key[0], "another key");

    for (k = 0; k < 3; k++) {
        hash = res_siphash(from->key, (unsigned char *) &k, sizeof(k));
        (void) res_limiter_take(from, hash, &conf, 1, 1000 + k * 50, &r);
    }

    res_limiter_copy(to, from, 1100);
    ok(memcmp(to->key, from->key, sizeof(to->key)) == 0, "the key is copied");

    for (k = 0; k < 3; k++) {
        hash = res_siphash(to->key, (unsigned char *) &k, sizeof(k));
        is_int(res_limiter_take(to, hash, &conf, 1, 1100, &r), k == 0,
               "key %u is %s", k, k ? "as before" : "idle");
    }

    for (k = 10; k < 26; k++) {
        hash = res_siphash(from->key, (unsigned char *) &k, sizeof(k));
        (void) res_limiter_take(from, hash, &conf, 1, 2000, &r);
    }

    res_limiter_init(to, 1, random);
    res_limiter_copy(to, from, 2000);

    for (k = 0; k < RES_LIMITER_WAYS; k++) {
        ok(((res_limiter_set_t *) (to + 1))->entries[k].gcra.tat
           == (uint64_t) 2100 * NS, "place %u has one of sixteen", k);
    }

    free(from);
    free(to);
}


int
main(void)
{
    size_t    i;
    uint64_t  n;

    test_sizes();

    for (i = 0; i < sizeof(takes) / sizeof(takes[0]); i++) {
        test_takes(&takes[i]);
    }

    for (n = 1; n <= 10; n++) {
        test_model(n, 200);
    }

    test_crowded();
    test_spread();
    test_copy();

    return done_testing();
}
