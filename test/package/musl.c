/*
 * What a VM is to the NIF library of the musl archive: a program linked with musl that offers the enif_ functions (ENIF
 * is a list of their names, as erl_nif.h has them), loads the library and asks it for its entry. Prints the module's name,
 * the NIF version and the number of functions.
 */
#include <dlfcn.h>
#include <stdio.h>

#define FUNCTION(name) void name(void) {}
ENIF

/* ErlNifEntry of erl_nif.h, up to what is read of it. */
struct entry {
    int major, minor;
    const char *name;
    int number_of_functions;
};

int main(int argc, char **argv)
{
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    struct entry *(*init)(void) = (struct entry * (*)(void)) dlsym(library, "nif_init");
    if (init == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    struct entry *entry = init();
    if (entry == NULL)
        return 3;
    printf("%s %d.%d %d\n", entry->name, entry->major, entry->minor, entry->number_of_functions);
    return 0;
}
