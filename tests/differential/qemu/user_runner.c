/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs test cases in one process under QEMU user mode (or on real hardware).
 *
 * Everything happens in one signal handler: the kernel (here QEMU) stores the whole register state on entry
 * and loads it on return, so every x and f register and fcsr belong to the case, with none reserved. A case
 * ends at the ebreak behind its code, or by any other signal. The handler writes the outcome, reads the next
 * case, puts its state in place of the old one and returns into it.
 *
 * Freestanding, without gp and tp (-mno-relax, no libc), for these hold the case's values in the handler; and
 * compiled without the F extension, so that nothing here touches floating-point state.
 *
 * Wire format, little endian; see user.py.
 */
#include <asm/sigcontext.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/ucontext.h>
#include <asm/unistd.h>
#include <linux/mman.h>

typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned char u8;

/* CODE_ADDRESS, CODE_BYTES, SCRATCH_ADDRESS, SCRATCH_BYTES and CASE_LIMIT_US come from the command line. */

struct case_header {
    u32 code_bytes, code_offset, memory_bytes, unused;
    u64 x[32]; /* x[0] is ignored */
    u64 f[32];
    u64 fcsr;
};

struct outcome_header {
    u32 signal, changed_offset, changed_bytes, unused;
    u64 pc, address;
    u64 x[32];
    u64 f[32];
    u64 fcsr;
};

static u8 input[1 << 18], output[1 << 18], alternate_stack[1 << 16] __attribute__((aligned(16)));
static u8 before[SCRATCH_BYTES] __attribute__((aligned(16)));
static u64 input_at, input_end, output_end, end_pc;
static int started;

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
    register long a3 __asm__("a3") = d, a4 __asm__("a4") = e, a5 __asm__("a5") = f;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
    return a0;
}

void *memcpy(void *to, const void *from, u64 count)
{
    u8 *t = to;
    const u8 *s = from;
    if ((((u64)t | (u64)s) & 7) == 0)
        for (; count >= 8; count -= 8, t += 8, s += 8)
            *(u64 *)t = *(const u64 *)s;
    while (count--)
        *t++ = *s++;
    return to;
}

void *memset(void *to, int value, u64 count)
{
    u8 *t = to;
    u64 wide = (u8)value * 0x0101010101010101UL;
    if (((u64)t & 7) == 0)
        for (; count >= 8; count -= 8, t += 8)
            *(u64 *)t = wide;
    while (count--)
        *t++ = (u8)value;
    return to;
}

static void quit(int status)
{
    call(__NR_exit_group, status, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

static void flush(void)
{
    for (u64 at = 0; at < output_end;) {
        long done = call(__NR_write, 1, (long)(output + at), (long)(output_end - at), 0, 0, 0);
        if (done <= 0)
            quit(3);
        at += (u64)done;
    }
    output_end = 0;
}

static void put(const void *from, u64 count)
{
    if (output_end + count > sizeof output)
        flush();
    memcpy(output + output_end, from, count);
    output_end += count;
}

/* 0 at the end of the input. */
static int get(void *to, u64 count)
{
    u8 *t = to;
    while (count) {
        if (input_at == input_end) {
            long done = call(__NR_read, 0, (long)input, sizeof input, 0, 0, 0);
            if (done <= 0)
                return 0;
            input_at = 0;
            input_end = (u64)done;
        }
        u64 part = input_end - input_at < count ? input_end - input_at : count;
        memcpy(t, input + input_at, part);
        t += part, input_at += part, count -= part;
    }
    return 1;
}

static void report(int signal, u64 address, const struct ucontext *context)
{
    const struct sigcontext *registers = &context->uc_mcontext;
    const u64 *now = (const u64 *)SCRATCH_ADDRESS, *old = (const u64 *)before;
    u64 first = 0, last = SCRATCH_BYTES / 8;
    while (first < last && now[first] == old[first])
        first++;
    while (last > first && now[last - 1] == old[last - 1])
        last--;
    struct outcome_header out = {.changed_offset = (u32)(first * 8), .changed_bytes = (u32)((last - first) * 8)};
    out.pc = registers->sc_regs.pc;
    out.signal = signal == SIGTRAP && out.pc == end_pc ? 0 : (u32)signal;
    out.address = address;
    memcpy(out.x + 1, (const u64 *)&registers->sc_regs + 1, 31 * 8);
    memcpy(out.f, registers->sc_fpregs.d.f, 32 * 8);
    out.fcsr = registers->sc_fpregs.d.fcsr;
    put(&out, sizeof out);
    put((const u8 *)SCRATCH_ADDRESS + out.changed_offset, out.changed_bytes);
}

static void load(struct ucontext *context)
{
    static struct case_header next;
    struct sigcontext *registers = &context->uc_mcontext;
    if (!get(&next, sizeof next)) {
        flush();
        quit(0);
    }
    if (next.code_offset + (u64)next.code_bytes + 4 > CODE_BYTES || next.memory_bytes > SCRATCH_BYTES)
        quit(4);
    memset((void *)CODE_ADDRESS, 0, CODE_BYTES);
    memset(before, 0, sizeof before);
    u8 *code = (u8 *)CODE_ADDRESS + next.code_offset;
    if (!get(code, next.code_bytes) || !get(before, next.memory_bytes))
        quit(5);
    static const u8 ebreak[4] = {0x73, 0x00, 0x10, 0x00};
    memcpy(code + next.code_bytes, ebreak, 4);
    memcpy((void *)SCRATCH_ADDRESS, before, SCRATCH_BYTES);
    __asm__ volatile("fence.i" ::: "memory");
    end_pc = (u64)code + next.code_bytes;
    registers->sc_regs.pc = (u64)code;
    memcpy((u64 *)&registers->sc_regs + 1, next.x + 1, 31 * 8);
    memcpy(registers->sc_fpregs.d.f, next.f, 32 * 8);
    registers->sc_fpregs.d.fcsr = (u32)next.fcsr;
}

static void handle(int signal, siginfo_t *info, struct ucontext *context)
{
    static const u64 limit[4] = {0, 0, CASE_LIMIT_US / 1000000, CASE_LIMIT_US % 1000000};
    if (started)
        report(signal, signal == SIGPROF ? 0 : (u64)info->si_addr, context);
    started = 1;
    load(context);
    call(__NR_setitimer, 2 /* ITIMER_PROF */, (long)limit, 0, 0, 0, 0);
}

static void map(u64 address, u64 bytes, int protection)
{
    long got = call(__NR_mmap, (long)address, (long)bytes, protection,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != (long)address)
        quit(2);
}

void _start(void)
{
    static const int signals[] = {SIGTRAP, SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGPROF};
    stack_t stack = {.ss_sp = alternate_stack, .ss_size = sizeof alternate_stack};
    struct {
        void (*handler)(int, siginfo_t *, struct ucontext *);
        u64 flags, mask;
    } action = {handle, SA_SIGINFO | SA_ONSTACK, ~0UL};

    map(CODE_ADDRESS, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC);
    map(SCRATCH_ADDRESS, SCRATCH_BYTES, PROT_READ | PROT_WRITE);
    call(__NR_sigaltstack, (long)&stack, 0, 0, 0, 0, 0);
    for (u64 i = 0; i < sizeof signals / sizeof signals[0]; i++)
        call(__NR_rt_sigaction, signals[i], (long)&action, 0, 8, 0, 0);
    __asm__ volatile("ebreak");
    quit(6);
}
