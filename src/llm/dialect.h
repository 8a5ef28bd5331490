
/*
 * A dialect: what a provider's answers mean, where its credential goes, and
 * how an error is said to a client that speaks it.  A table of functions; the
 * call names no dialect.
 */


#ifndef LLM_DIALECT_H_INCLUDED
#define LLM_DIALECT_H_INCLUDED


#include "llm.h"
#include "sse.h"
#include "../engine/outcome.h"


/* An answer that is no stream, or no longer one: what is known of it. */

typedef struct {
    unsigned              status;
    llm_str_t             type;      /* Content-Type, may be empty */
    llm_str_t             body;      /* as much as is held */
    unsigned              whole:1;   /* the body is all there */
    unsigned              own_key:1; /* called with the provider's own key */
    unsigned              retry_after:1;  /* the answer names a wait */
} llm_answer_t;


/* Tokens; negative: not known. */

typedef struct {
    int64_t               input;     /* of the prompt, cached ones included */
    int64_t               output;
} llm_usage_t;


typedef enum {
    LLM_EVENT_NOISE = 0,             /* says nothing yet: ping, preamble */
    LLM_EVENT_CONTENT,               /* commits */
    LLM_EVENT_END,                   /* the terminal mark */
    LLM_EVENT_ERROR,                 /* an error inside the stream */
    LLM_EVENT_USAGE                  /* noise, but for the tokens that were
                                        asked for */
} llm_event_e;


typedef struct {
    llm_str_t             name;
    const char           *url;       /* default endpoint, NULL: none */

    const char           *key_header;   /* lower case, NULL: no key */
    const char           *key_prefix;   /* before the credential, e.g.
                                           "Bearer " */

    /*
     * The class of an answer: of an error status, or of a complete 2xx body
     * that is no event stream.  Only called with a status >= 200.
     */
    res_outcome_e       (*classify)(const llm_answer_t *a);

    /*
     * What an event means; on LLM_EVENT_ERROR *outcome is its class.  NULL:
     * the dialect knows no streams, and every answer commits at its header.
     */
    llm_event_e         (*event)(const llm_event_t *e,
                                 res_outcome_e *outcome);

    /*
     * Where answers and events tell of tokens, as llm_json_scan_init() wants
     * it, with NULL at the end, all with the same last part; and what the value
     * that stands there tells, given to llm_usage_note() or _most().  NULL:
     * they tell nothing.
     */
    const char *const    *usage_names;
    void                (*usage)(llm_str_t value, llm_usage_t *u);

    /*
     * Streams that tell of tokens only if they are asked to: what the member
     * "stream_options" of a request at that path has to be.  options is what
     * it is, empty: there is none.  With buf == NULL returns the length only;
     * 0: it has to be left as it is.  NULL: all streams tell.
     */
    size_t              (*ask_usage)(unsigned char *buf, llm_str_t path,
                                     llm_str_t options);

    /*
     * An error made by us, as a whole JSON body: code is our stable name of
     * what happened (an outcome), message is plain text.  With buf == NULL
     * returns the length only.  NULL: the dialect has no such body.
     */
    size_t              (*error_body)(unsigned char *buf, unsigned status,
                                      const char *code, const char *message);

    /*
     * The same as the event that ends a broken stream, from the start of a
     * line to the blank line.  status is the one the error would have had.
     */
    size_t              (*error_event)(unsigned char *buf, unsigned status,
                                       const char *code, const char *message);
} llm_dialect_t;


extern const llm_dialect_t  llm_dialect_none;
extern const llm_dialect_t  llm_dialect_openai;
extern const llm_dialect_t  llm_dialect_anthropic;

/* The dialect of that name, or NULL. */
const llm_dialect_t *llm_dialect_find(const char *name, size_t len);

/* The n-th dialect, NULL behind the last; for messages that list them. */
const llm_dialect_t *llm_dialect_get(unsigned n);


#endif /* LLM_DIALECT_H_INCLUDED */
