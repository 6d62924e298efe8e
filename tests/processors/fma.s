# fmaf and fma for qemu, which takes both from libm for each lane of the guest's vectors. Intel's
# processors need 60 ns to go from AVX to SSE instructions and as much to return, unless the upper
# halves of the registers are zero; translated code leaves them full. So an emulated training there
# takes ten times as long without this.
        .globl  fmaf, fma
        .type   fmaf, @function
        .type   fma, @function
fmaf:   vzeroupper
        vfmadd213ss %xmm2, %xmm1, %xmm0
        ret
fma:    vzeroupper
        vfmadd213sd %xmm2, %xmm1, %xmm0
        ret
        .section .note.GNU-stack, "", @progbits
