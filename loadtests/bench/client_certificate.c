/* h2load has no option for a client certificate. Preloaded, this gives one to every TLS context that it makes, and
 * refuses what is older than TLS 1.3. Certificate chain and key are PEM files, named in the environment. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;

/* Declared here and found in the libssl that h2load has loaded, so that building needs no headers of OpenSSL. */
extern int SSL_CTX_use_certificate_chain_file(SSL_CTX *context, const char *file);
extern int SSL_CTX_use_PrivateKey_file(SSL_CTX *context, const char *file, int type);
extern uint64_t SSL_CTX_set_options(SSL_CTX *context, uint64_t options);

#define SSL_FILETYPE_PEM 1
/* SSL_OP_NO_TLSv1, _1 and _2 of openssl/ssl.h. Options are only ever added to, so h2load can't undo them. */
#define ONLY_TLS_1_3 ((UINT64_C(1) << 26) | (UINT64_C(1) << 28) | (UINT64_C(1) << 27))

SSL_CTX *SSL_CTX_new(const SSL_METHOD *method) {
  SSL_CTX *(*make)(const SSL_METHOD *) = (SSL_CTX *(*)(const SSL_METHOD *))dlsym(RTLD_NEXT, "SSL_CTX_new");
  const char *certificate = getenv("BENCH_CLIENT_CERTIFICATE");
  const char *key = getenv("BENCH_CLIENT_KEY");
  SSL_CTX *context = make ? make(method) : NULL;
  if (context == NULL)
    return NULL;
  if (certificate == NULL || key == NULL || SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    fputs("the client certificate can't be used\n", stderr);
    exit(EXIT_FAILURE);
  }
  SSL_CTX_set_options(context, ONLY_TLS_1_3);
  return context;
}
