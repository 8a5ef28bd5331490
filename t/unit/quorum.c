
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/quorum.h"
#include "tap.h"

#include <stdlib.h>


#define MAX   UINT32_MAX
#define SETS  (RES_QUORUM_VOTES / RES_QUORUM_WAYS)


/*
 * Votes, word by word: a tenant's letter, F or S, and "!" if the others are
 * enough then; +100 and -100 are ms, "clear" is that.  Tenants have places of
 * their own, up to "z"; those in upper case share one place of a few.
 */

typedef struct {
    const char  *name;
    uint32_t     tenants;
    uint32_t     share;
    uint32_t     window;
    const char  *words;
} votes_t;


static const votes_t  votes[] = {

    /* each tenant has one vote, the latest */

    { "two of two", 2, 0, 1000, "aF bF!" },
    { "nothing", 2, 0, 1000, "aS bS" },
    { "one of two", 2, 0, 1000, "aF bS" },
    { "a success never is enough", 2, 0, 1000, "aF bF! cS aS bS" },
    { "one tenant, often", 2, 0, 1000, "aF aF aF aF aF aF aF aF" },
    { "one tenant, over a long time", 2, 0, 1000,
      "aF +600 aF +600 aF +600 aF +600 aF" },
    { "a success turns its vote", 2, 0, 1000, "aF aS bF" },
    { "a failure turns it back", 2, 0, 1000, "aF aS bF aF!" },
    { "a vote turned by its tenant only", 2, 0, 1000, "aF cS dS bF!" },
    { "and again, as long as they fail", 2, 0, 1000, "aF bF! bF! aF! aS bF" },
    { "three of three", 3, 0, 1000, "aF bF cF!" },
    { "two of three", 3, 0, 1000, "aF bF aF bF aF bF" },
    { "four of three", 3, 0, 1000, "aF bF cF! dF!" },
    { "five of five, and others", 5, 0, 1000, "aF bS cF dF eS fF gF!" },
    { "sixteen", 16, 0, 1000,
      "aF bF cF dF eF fF gF hF iF jF kF lF mF nF oF pF!" },
    { "all of them", 16, 100, 1000,
      "aF bF cF dF eF fF gF hF iF jF kF lF mF nF oF pF! qF! rF!" },

    /* it counts for a while */

    { "at the end of the window", 2, 0, 1000, "aF +1000 bF!" },
    { "after the window", 2, 0, 1000, "aF +1001 bF" },
    { "long after the window", 2, 0, 1000, "aF +900000 bF" },
    { "voted anew", 2, 0, 1000, "aF +900 aF +900 bF!" },
    { "voted anew after its window", 2, 0, 1000, "aF +1001 bF aF!" },
    { "one of three too old", 3, 0, 1000, "aF +500 bF +501 cF aF!" },
    { "no window", 2, 0, 0, "aF bF! +1 aF bF! +1 cF" },
    { "the widest window", 2, 0, MAX, "aF +4294967295 bF!" },
    { "after the widest", 2, 0, MAX, "aF +4294967295 +1 bF" },
    { "time goes back", 2, 0, 1000, "aF -3000 bF!" },
    { "time goes back, and on", 2, 0, 1000, "aF -3000 bF! +4000 cF! +1 bF!" },

    /* so many of those that were heard of */

    { "half is 50 %", 2, 50, 1000, "cS dS aF bF!" },
    { "two of five are not", 2, 50, 1000, "cS dS eS aF bF" },
    { "two of five are 40 %", 2, 40, 1000, "cS dS eS aF bF!" },
    { "two of five are less than 41 %", 2, 41, 1000, "cS dS eS aF bF" },
    { "one of three is more than 33 %, but one", 2, 33, 1000, "aS bS cF" },
    { "two of three are more than 66 %", 2, 66, 1000, "aS bF cF!" },
    { "two of three are less than 67 %", 2, 67, 1000, "aS bF cF" },
    { "all", 2, 100, 1000, "aF bF! cF!" },
    { "all but one", 2, 100, 1000, "aS bF cF dF eF" },
    { "all but one, and then all", 2, 100, 1000, "aS bF cF aF!" },
    { "more than all", 2, 101, 1000, "aF bF cF" },
    { "the widest share", 2, MAX, 1000, "aF bF cF" },
    { "no share", 2, 0, 1000, "cS dS eS fS gS hS iS jS aF bF!" },
    { "of those heard of lately", 2, 50, 1000, "cS dS eS +1001 aF bF!" },
    { "at the end of the window they are", 2, 50, 1000,
      "cS dS eS +1000 aF bF" },
    { "failures that are too old are not heard of either", 2, 60, 1000,
      "cF dF! eF! +1001 fS aF bF!" },

    /* forgotten */

    { "cleared", 2, 0, 1000, "aF clear bF aF!" },
    { "cleared, with those that were well", 2, 50, 1000,
      "cS dS eS clear aF bF!" },

    /* too many in one place: the oldest vote goes */

    { "four in one place", 4, 0, 1000, "AF BF CF DF!" },
    { "five in one place are four", 5, 0, 1000, "AF BF CF DF EF EF AF BF" },
    { "the oldest went", 4, 0, 1000, "AF +1 BF +1 CF +1 DF! +1 ES BF" },
    { "and not the others", 3, 0, 1000, "AF +1 BF +1 CF! +1 DF! +1 ES BF!" },
    { "who voted anew is not the oldest", 3, 0, 1000,
      "AF +1 BS +1 CF +1 DF! +1 AF! +1 ES CF!" },
    { "the oldest went, though it was well", 3, 0, 1000,
      "AS +1 BF +1 CF +1 DF! +1 ES BF!" },
    { "one that is well may go for one that is not", 3, 0, 1000,
      "AS +1 BF +1 CF +1 DS +1 EF!" },
    { "a free place is taken first", 3, 0, 1000, "AF +1 BF +1 CF! +1 DS AF!" },
    { "votes that are too old go first", 4, 0, 1000,
      "AS +2000 BF +1 CF +1 DF +1 EF!" },
    { "others are not touched", 3, 0, 1000, "aF bF AS BS CS DS ES FS GS cF!" }
};


/* lower case: in sets by turns; upper case: in set 0, and in no other */

static uint64_t
letter_hash(char letter)
{
    if (letter >= 'a') {
        return (uint64_t) letter << 32 | (uint64_t) letter % SETS;
    }

    return (uint64_t) letter << 32 | (uint64_t) letter << 8;
}


static void
test_votes(const votes_t *row)
{
    int                 n, rc;
    char                words[256], *word, *save;
    uint64_t            now;
    const char         *wrong;
    res_quorum_t        q;
    res_quorum_conf_t   conf;

    conf.tenants = row->tenants;
    conf.share = row->share;
    conf.window = row->window;

    memset(&q, 0, sizeof(res_quorum_t));

    (void) snprintf(words, sizeof(words), "%s", row->words);

    now = 100000;
    wrong = NULL;
    n = 0;

    for (word = strtok_r(words, " ", &save); word && wrong == NULL;
         word = strtok_r(NULL, " ", &save))
    {
        n++;

        if (*word == '+') {
            now += strtoull(word + 1, NULL, 10);

        } else if (*word == '-') {
            now -= strtoull(word + 1, NULL, 10);

        } else if (strcmp(word, "clear") == 0) {
            res_quorum_clear(&q);

        } else {
            rc = res_quorum_vote(&q, &conf, now, letter_hash(word[0]),
                                 word[1] == 'F');

            if (rc != (word[2] == '!')) {
                wrong = word;
            }
        }
    }

    ok(wrong == NULL, "%s", row->name);

    if (wrong) {
        printf("# word %d, \"%s\", of \"%s\"\n", n, wrong, row->words);
    }
}


static void
test_zero(void)
{
    res_quorum_t       q, zero;
    res_quorum_conf_t  conf;

    memset(&zero, 0, sizeof(res_quorum_t));
    memset(&q, 0xee, sizeof(res_quorum_t));

    res_quorum_clear(&q);

    ok(memcmp(&q, &zero, sizeof(res_quorum_t)) == 0, "clear is all zero");

    /* at the very first ms, hashes of all bits and of none */

    conf.tenants = 2;
    conf.share = 50;
    conf.window = 1000;

    is_int(res_quorum_vote(&q, &conf, 0, 0, 1), 0, "no hash");
    is_int(res_quorum_vote(&q, &conf, 0, 0, 1), 0, "no hash, again");
    is_int(res_quorum_vote(&q, &conf, 0, UINT64_MAX, 1), 1, "all of it");
    is_int(res_quorum_vote(&q, &conf, 0, UINT64_MAX, 7), 1,
           "any number is a failure");
    is_int(res_quorum_vote(&q, &conf, 0, UINT64_MAX, 0), 0, "a success");
    is_int(res_quorum_vote(&q, &conf, 0, 0, 1), 0, "and one is left");
}


static uint64_t  seed;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


static uint64_t
random_hash(void)
{
    return (uint64_t) number(MAX) << 32 ^ (uint64_t) number(MAX) << 5
           ^ number(MAX);
}


static void
random_conf(res_quorum_conf_t *conf)
{
    conf->tenants = 2 + number(RES_QUORUM_VOTES / 2 - 1);
    conf->share = number(2) ? number(101) : 0;
    conf->window = number(3) ? number(2000) : number(MAX);
}


/*
 * One tenant fails as often as it will, others are well: however many they
 * are, and whatever is asked for, it is never enough.
 */

static void
test_one(void)
{
    int                 i, k, reached, others;
    uint64_t            now, hash;
    res_quorum_t        q;
    res_quorum_conf_t   conf;

    seed = 3;
    reached = 0;

    for (i = 0; i < 2000; i++) {

        memset(&q, 0, sizeof(res_quorum_t));

        random_conf(&conf);
        hash = random_hash();
        others = number(2) ? (int) number(100) : 0;
        now = number(100000);

        for (k = 0; k < 200; k++) {
            now += number(3) ? number(5) : number(3000);

            if (others && number(2)) {
                (void) res_quorum_vote(&q, &conf, now, random_hash(), 0);
                continue;
            }

            reached += res_quorum_vote(&q, &conf, now, hash,
                                       number(10) != 0);
        }
    }

    is_int(reached, 0, "one tenant alone, and 400000 votes");

    /* and so one less than it takes */

    for (i = 0; i < 2000; i++) {

        memset(&q, 0, sizeof(res_quorum_t));

        random_conf(&conf);
        conf.share = 0;
        hash = random_hash();
        now = number(100000);

        for (k = 0; k < 200; k++) {
            now += number(10);

            reached += res_quorum_vote(&q, &conf, now,
                                       hash + ((uint64_t)
                                               number(conf.tenants - 1)
                                               << 32),
                                       1);
        }
    }

    is_int(reached, 0, "one less than it takes, and 400000 votes");
}


/*
 * The model: a list of all tenants and of their last outcomes.
 */

#define TENANTS  60


typedef struct {
    uint64_t  hash;
    uint64_t  at;
    int       voted;
    int       failed;
} tenant_t;


static int
model_vote(tenant_t *tenants, const res_quorum_conf_t *conf, uint64_t now,
    uint32_t n, int failed, int share)
{
    int       heard, failing;
    uint32_t  i;

    tenants[n].at = now;
    tenants[n].voted = 1;
    tenants[n].failed = failed;

    heard = 0;
    failing = 0;

    for (i = 0; i < TENANTS; i++) {
        if (tenants[i].voted && tenants[i].at + conf->window >= now) {
            heard++;
            failing += tenants[i].failed;
        }
    }

    return failed && failing >= (int) conf->tenants
           && (!share || failing / (double) heard
                         >= conf->share / 100.0 - 1e-9);
}


/*
 * As many tenants as there are places for: exactly like the model.  More of
 * them, or all in one place: never with fewer tenants than the model has.
 */

static void
test_model(uint32_t n, int spread)
{
    int                 i, k, yes, reached, model, wrong, early, failed;
    uint32_t            t, luck;
    uint64_t            now;
    tenant_t            tenants[TENANTS];
    res_quorum_t        q;
    res_quorum_conf_t   conf;

    seed = n * 977 + (uint32_t) spread + 1;

    reached = 0;
    model = 0;
    wrong = 0;
    early = 0;

    for (i = 0; i < 100; i++) {

        memset(&q, 0, sizeof(res_quorum_t));
        memset(tenants, 0, sizeof(tenants));

        random_conf(&conf);

        now = number(100000);
        luck = number(101);

        for (t = 0; t < n; t++) {
            tenants[t].hash = (random_hash() / SETS * SETS)
                              + (spread ? t % SETS : 3);
            tenants[t].hash ^= (uint64_t) t << 56;
        }

        for (k = 0; k < 500; k++) {

            now += number(20) ? number(20) : number(2000);

            if (number(50) == 0) {
                luck = number(101);
            }

            if (number(200) == 0) {
                res_quorum_clear(&q);
                random_conf(&conf);

                for (t = 0; t < n; t++) {
                    tenants[t].voted = 0;
                }
            }

            t = number(n);
            failed = number(100) < luck;

            yes = res_quorum_vote(&q, &conf, now, tenants[t].hash, failed);

            reached += yes;

            early += (yes > model_vote(tenants, &conf, now, t, failed, 0));
            wrong += (yes != model_vote(tenants, &conf, now, t, failed, 1));
            model += model_vote(tenants, &conf, now, t, failed, 1);
        }
    }

    is_int(early, 0, "%u tenants, %s: never with fewer than it takes", n,
           spread ? "everywhere" : "in one place");

    if (n <= (spread ? RES_QUORUM_VOTES : RES_QUORUM_WAYS)) {
        is_int(wrong, 0, "%u tenants, %s: like the model", n,
               spread ? "everywhere" : "in one place");
        ok(n < 2 || reached > 50, "%u tenants: often enough, %d times", n,
           reached);
        is_int(reached, model, "%u tenants: as often", n);
    }
}


/* of tenants in one place: what is enough, is enough for a share of 0 */

static void
test_crowd(void)
{
    int                 k, crowded, alone;
    uint64_t            t;
    res_quorum_t        a, b;
    res_quorum_conf_t   conf;

    conf.share = 0;
    conf.window = 1000;

    for (conf.tenants = 2; conf.tenants <= RES_QUORUM_VOTES / 2;
         conf.tenants++)
    {
        memset(&a, 0, sizeof(res_quorum_t));
        memset(&b, 0, sizeof(res_quorum_t));

        crowded = 0;
        alone = 0;

        for (k = 0; k < 3; k++) {
            for (t = 0; t < RES_QUORUM_VOTES / 2; t++) {
                crowded += res_quorum_vote(&a, &conf, 5, t << 32, 1);
                alone += res_quorum_vote(&b, &conf, 5, t << 32 | t % SETS, 1);
            }
        }

        ok(alone == 3 * RES_QUORUM_VOTES / 2 - (int) conf.tenants + 1
           && crowded <= alone
           && (crowded > 0) == (conf.tenants <= RES_QUORUM_WAYS),
           "%u tenants in one place or not", conf.tenants);
    }

    /* two that cannot be told apart are one */

    memset(&a, 0, sizeof(res_quorum_t));
    conf.tenants = 2;

    is_int(res_quorum_vote(&a, &conf, 5, 0x1234500000003, 1), 0, "one");
    is_int(res_quorum_vote(&a, &conf, 5, 0x123450000ff0b, 1), 0,
           "another with the same vote");
    is_int(res_quorum_vote(&a, &conf, 5, 0x1234500000004, 1), 1,
           "another one, elsewhere");
}


int
main(void)
{
    size_t    i;
    uint32_t  n;

    static const uint32_t  tenants[] = { 1, 2, 3, 4, 5, 8, 16, 31, 32, 60 };

    test_zero();

    for (i = 0; i < sizeof(votes) / sizeof(votes[0]); i++) {
        test_votes(&votes[i]);
    }

    test_one();
    test_crowd();

    for (i = 0; i < sizeof(tenants) / sizeof(tenants[0]); i++) {
        n = tenants[i];

        test_model(n, 1);
        test_model(n, 0);
    }

    return done_testing();
}
