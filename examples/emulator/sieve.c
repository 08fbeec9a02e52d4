/* The guest program: the sieve of Eratosthenes without a library, an operating system or data of its own.
 *
 * The host passes the memory to work in and the limit in the registers of an ordinary call (rdi, rsi), and finds the
 * number of primes up to the limit in rax when the processor halts. The code runs at any address.
 *
 * build.sh compiles it into sieve.hex, which is committed: who runs the demo may have no compiler.
 */

typedef unsigned char byte;
typedef unsigned long natural;

static natural count_primes(byte *is_composite, natural limit);

/* The first function of the file is the first byte of the code, where the host enters. */
__attribute__((naked, noreturn)) void enter(void)
{
    __asm__("call count_primes\n\thlt");
}

__attribute__((used)) static natural count_primes(byte *is_composite, natural limit)
{
    natural primes = 0;

    for (natural number = 0; number <= limit; number++)
        is_composite[number] = 0;

    for (natural number = 2; number <= limit; number++) {
        if (is_composite[number])
            continue;
        primes++;
        for (natural multiple = number * number; multiple <= limit; multiple += number)
            is_composite[multiple] = 1;
    }
    return primes;
}
