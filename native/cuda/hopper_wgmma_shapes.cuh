// The shapes of wgmma with 64 rows: an asm statement has its operands written out, so a macro makes one function for
// each number of columns.
#pragma once

template <int N> struct Wgmma;   // N: columns of D, 16 to 256 in steps of 16
// The n / 2 accumulators of a wgmma with n columns: their places in the text, and the operands of the asm statement.
#define WGMMA_TEXT16 "%0,%1,%2,%3,%4,%5,%6,%7"
#define WGMMA_TEXT32 WGMMA_TEXT16 "," "%8,%9,%10,%11,%12,%13,%14,%15"
#define WGMMA_TEXT48 WGMMA_TEXT32 "," "%16,%17,%18,%19,%20,%21,%22,%23"
#define WGMMA_TEXT64 WGMMA_TEXT48 "," "%24,%25,%26,%27,%28,%29,%30,%31"
#define WGMMA_TEXT80 WGMMA_TEXT64 "," "%32,%33,%34,%35,%36,%37,%38,%39"
#define WGMMA_TEXT96 WGMMA_TEXT80 "," "%40,%41,%42,%43,%44,%45,%46,%47"
#define WGMMA_TEXT112 WGMMA_TEXT96 "," "%48,%49,%50,%51,%52,%53,%54,%55"
#define WGMMA_TEXT128 WGMMA_TEXT112 "," "%56,%57,%58,%59,%60,%61,%62,%63"
#define WGMMA_TEXT144 WGMMA_TEXT128 "," "%64,%65,%66,%67,%68,%69,%70,%71"
#define WGMMA_TEXT160 WGMMA_TEXT144 "," "%72,%73,%74,%75,%76,%77,%78,%79"
#define WGMMA_TEXT176 WGMMA_TEXT160 "," "%80,%81,%82,%83,%84,%85,%86,%87"
#define WGMMA_TEXT192 WGMMA_TEXT176 "," "%88,%89,%90,%91,%92,%93,%94,%95"
#define WGMMA_TEXT208 WGMMA_TEXT192 "," "%96,%97,%98,%99,%100,%101,%102,%103"
#define WGMMA_TEXT224 WGMMA_TEXT208 "," "%104,%105,%106,%107,%108,%109,%110,%111"
#define WGMMA_TEXT240 WGMMA_TEXT224 "," "%112,%113,%114,%115,%116,%117,%118,%119"
#define WGMMA_TEXT256 WGMMA_TEXT240 "," "%120,%121,%122,%123,%124,%125,%126,%127"
#define WGMMA_R4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_R(i) WGMMA_R4(i), WGMMA_R4(i + 4)
#define WGMMA_OPERANDS16 WGMMA_R(0)
#define WGMMA_OPERANDS32 WGMMA_OPERANDS16, WGMMA_R(8)
#define WGMMA_OPERANDS48 WGMMA_OPERANDS32, WGMMA_R(16)
#define WGMMA_OPERANDS64 WGMMA_OPERANDS48, WGMMA_R(24)
#define WGMMA_OPERANDS80 WGMMA_OPERANDS64, WGMMA_R(32)
#define WGMMA_OPERANDS96 WGMMA_OPERANDS80, WGMMA_R(40)
#define WGMMA_OPERANDS112 WGMMA_OPERANDS96, WGMMA_R(48)
#define WGMMA_OPERANDS128 WGMMA_OPERANDS112, WGMMA_R(56)
#define WGMMA_OPERANDS144 WGMMA_OPERANDS128, WGMMA_R(64)
#define WGMMA_OPERANDS160 WGMMA_OPERANDS144, WGMMA_R(72)
#define WGMMA_OPERANDS176 WGMMA_OPERANDS160, WGMMA_R(80)
#define WGMMA_OPERANDS192 WGMMA_OPERANDS176, WGMMA_R(88)
#define WGMMA_OPERANDS208 WGMMA_OPERANDS192, WGMMA_R(96)
#define WGMMA_OPERANDS224 WGMMA_OPERANDS208, WGMMA_R(104)
#define WGMMA_OPERANDS240 WGMMA_OPERANDS224, WGMMA_R(112)
#define WGMMA_OPERANDS256 WGMMA_OPERANDS240, WGMMA_R(120)
#define WGMMA_LIST(...) __VA_ARGS__
#define WGMMA_TYPE(n, bf) "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." bf "." bf " "
#define WGMMA_SS(n, list, regs, bf, a, b, p, ta, tb) \
  asm volatile("{ .reg .pred p; setp.ne.b32 p," p ",0; "                                                               \
               WGMMA_TYPE(n, bf) "{" list "}," a "," b ",p,1,1," ta "," tb "; }"                                       \
               : regs : "l"(da), "l"(db), "r"((u32)accumulate), "n"(TA ? 1 : 0), "n"(TB ? 1 : 0))
#define WGMMA_RS(n, list, regs, bf, a0, a1, a2, a3, b, p, tb) \
  asm volatile("{ .reg .pred p; setp.ne.b32 p," p ",0; "                                                               \
               WGMMA_TYPE(n, bf) "{" list "},{" a0 "," a1 "," a2 "," a3 "}," b ",p,1,1," tb "; }"                      \
               : regs : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(db), "r"((u32)accumulate), "n"(TB ? 1 : 0))
#define WGMMA_SHAPE(n, p0, p1, p2, p3, p4, p5, p6)                                                                     \
  template <> struct Wgmma<n> {                                                                                        \
    template <bool BF, bool TA, bool TB> DEVICE static void ss(float (&d)[n / 2], u64 da, u64 db, bool accumulate) {   \
      if constexpr (BF) WGMMA_SS(n, WGMMA_TEXT##n, WGMMA_LIST(WGMMA_OPERANDS##n), "bf16", p0, p1, p2, p3, p4);         \
      else WGMMA_SS(n, WGMMA_TEXT##n, WGMMA_LIST(WGMMA_OPERANDS##n), "f16", p0, p1, p2, p3, p4);                       \
    }                                                                                                                  \
    template <bool BF, bool TB> DEVICE static void rs(float (&d)[n / 2], const u32 (&a)[4], u64 db, bool accumulate) { \
      if constexpr (BF) WGMMA_RS(n, WGMMA_TEXT##n, WGMMA_LIST(WGMMA_OPERANDS##n), "bf16", p0, p1, p2, p3, p4, p5, p6); \
      else WGMMA_RS(n, WGMMA_TEXT##n, WGMMA_LIST(WGMMA_OPERANDS##n), "f16", p0, p1, p2, p3, p4, p5, p6);               \
    }                                                                                                                  \
  };
WGMMA_SHAPE(16, "%8", "%9", "%10", "%11", "%12", "%13", "%14")
WGMMA_SHAPE(32, "%16", "%17", "%18", "%19", "%20", "%21", "%22")
WGMMA_SHAPE(48, "%24", "%25", "%26", "%27", "%28", "%29", "%30")
WGMMA_SHAPE(64, "%32", "%33", "%34", "%35", "%36", "%37", "%38")
WGMMA_SHAPE(80, "%40", "%41", "%42", "%43", "%44", "%45", "%46")
WGMMA_SHAPE(96, "%48", "%49", "%50", "%51", "%52", "%53", "%54")
WGMMA_SHAPE(112, "%56", "%57", "%58", "%59", "%60", "%61", "%62")
WGMMA_SHAPE(128, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
WGMMA_SHAPE(144, "%72", "%73", "%74", "%75", "%76", "%77", "%78")
WGMMA_SHAPE(160, "%80", "%81", "%82", "%83", "%84", "%85", "%86")
WGMMA_SHAPE(176, "%88", "%89", "%90", "%91", "%92", "%93", "%94")
WGMMA_SHAPE(192, "%96", "%97", "%98", "%99", "%100", "%101", "%102")
WGMMA_SHAPE(208, "%104", "%105", "%106", "%107", "%108", "%109", "%110")
WGMMA_SHAPE(224, "%112", "%113", "%114", "%115", "%116", "%117", "%118")
WGMMA_SHAPE(240, "%120", "%121", "%122", "%123", "%124", "%125", "%126")
WGMMA_SHAPE(256, "%128", "%129", "%130", "%131", "%132", "%133", "%134")
