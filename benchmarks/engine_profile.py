"""Where a LoRA step's time goes: a few full-size blocks, profiled on the GPU.

    python benchmarks/engine_profile.py --blocks 8 peft ours fp8
"""
import argparse, contextlib, gc, json, sys, time
from collections import defaultdict
import torch
from diffusers import LTX2VideoTransformer3DModel
from benchmarks import released
from ltx_core.checkpoint.architecture import transformer_arguments
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.inputs import Stream
from ltx_core.denoiser.positions import audio_positions, video_positions
from ltx_core.engine.attention import FusedAttnProcessor
from ltx_core.engine.low_precision import QuantisedLinear
from ltx_core.lora.inject import add_lora, lora_parameters
from ltx_core.lora.targets import target_modules
from ltx_core.shapes import LatentShape

SHAPES = {"17": (480, 832, 17, 2), "121": (512, 768, 121, 1)}
DEV = "cuda" if torch.cuda.is_available() else "cpu"

def build(blocks, quantised=False, tiny=False):
    args = transformer_arguments(released.config("2.0")) | {"num_layers": blocks}
    if tiny:
        args |= dict(num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32, audio_num_attention_heads=2, audio_attention_head_dim=8, audio_cross_attention_dim=16)
    with torch.device("meta"):
        m = LTX2VideoTransformer3DModel(**{**args, "perturbed_attn": True})
    m = m.to(torch.bfloat16).to_empty(device=DEV)
    with torch.no_grad():
        for n, p in m.named_parameters():
            p.fill_(1.0) if ("norm" in n and p.ndim == 1) else p.normal_(0, 0.02)
    m.requires_grad_(False)
    if quantised:
        for block in m.transformer_blocks:
            for mod in list(block.modules()):
                for n, c in list(mod.named_children()):
                    if type(c) is torch.nn.Linear and c.in_features % 16 == 0 and c.out_features % 16 == 0:
                        mod._modules[n] = QuantisedLinear(c)
    add_lora(m, target_modules(m, "audio+video"), rank=32, alpha=32, seed=0)
    return m

def streams(m, h, w, f, b):
    shape = LatentShape((f - 1) // 8 + 1, h // 32, w // 32)
    la = max(1, round(f / 25 * 25)); c = m.config
    g = torch.Generator(DEV).manual_seed(1)
    r = lambda *s: torch.randn(*s, device=DEV, dtype=torch.bfloat16, generator=g)
    sig = torch.rand(b, device=DEV, generator=g)
    text = 1024 if DEV == "cuda" else 8
    v = Stream(tokens=r(b, shape.tokens, 128), timesteps=sig, sigma=sig, context=r(b, text, c.caption_channels), positions=video_positions(shape, 25.0, b, DEV))
    a = Stream(tokens=r(b, la, 128), timesteps=sig, sigma=sig, context=r(b, text, c.caption_channels), positions=audio_positions(la, b, DEV))
    return v, a

def run(name, m, shapes, n=4, warm=2, profile=True, autocast=False):
    ps = list(lora_parameters(m).values())
    opt = torch.optim.AdamW(ps, lr=1e-4, fused=DEV == "cuda")
    for key in shapes:
        v, a = streams(m, *SHAPES[key]) if DEV == "cuda" else streams(m, 64, 64, 9, 1)
        def step():
            with torch.autocast(DEV, torch.bfloat16, enabled=autocast):
                pv, pa = denoise(m, v, a)
                loss = (pv.float() - v.tokens.float()).square().mean() + (pa.float() - a.tokens.float()).square().mean()
            loss.backward(); torch.nn.utils.clip_grad_norm_(ps, 1.0); opt.step(); opt.zero_grad(set_to_none=True)
            return loss
        if DEV == "cpu": print(name, step().item()); continue
        try:
            torch.cuda.reset_peak_memory_stats(); t0 = time.time()
            for _ in range(warm): step()
            torch.cuda.synchronize(); w = time.time() - t0; ts = []
            for _ in range(n):
                s, e = torch.cuda.Event(True), torch.cuda.Event(True); s.record(); l = step(); e.record(); torch.cuda.synchronize(); ts.append(s.elapsed_time(e))
            ts.sort()
            # host time: issue without waiting
            t0 = time.time(); step(); host = time.time() - t0; torch.cuda.synchronize()
            base = torch.cuda.memory_allocated()
            print(json.dumps(dict(name=name, shape=key, ms=round(ts[len(ts)//2], 1), ms_per_block=round(ts[len(ts)//2]/len(m.transformer_blocks), 2), host_ms=round(host*1e3,1), warm=round(w, 1), peak=round(torch.cuda.max_memory_allocated()/2**30, 2), resident=round(base/2**30,2), loss=round(float(l), 4))), flush=True)
            if profile:
                with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]) as prof:
                    step(); torch.cuda.synchronize()
                rows = defaultdict(lambda: [0, 0.0])
                for ev in prof.events():
                    if ev.device_type == torch.autograd.DeviceType.CUDA:
                        rows[ev.name][0] += 1; rows[ev.name][1] += ev.device_time if hasattr(ev, "device_time") else ev.cuda_time
                total = sum(t for _, t in rows.values()); count = sum(c for c, _ in rows.values())
                print(f"   kernels {count}, busy {total/1e3:.1f} ms")
                for nm, (c, t) in sorted(rows.items(), key=lambda kv: -kv[1][1])[:22]:
                    print(f"   {t/1e3:8.2f} ms {c:5d}  {nm[:110]}")
                sys.stdout.flush()
        except Exception as x:
            print(name, key, "FAILED", repr(x)[:600], flush=True)
        gc.collect(); torch.cuda.empty_cache()

def fuse(m):
    for block in m.transformer_blocks:
        for mod in block.modules():
            if hasattr(mod, "set_processor"): mod.set_processor(FusedAttnProcessor())

def main():
    ap = argparse.ArgumentParser(); ap.add_argument("variants", nargs="+"); ap.add_argument("--blocks", type=int, default=8); ap.add_argument("--shapes", default="17,121"); ap.add_argument("--tiny", action="store_true")
    a = ap.parse_args(); shapes = a.shapes.split(",")
    for variant in a.variants:
        name, *opts = variant.split(":")
        torch._dynamo.reset(); gc.collect(); DEV == "cuda" and torch.cuda.empty_cache()
        if "cudnn" in opts:
            torch.backends.cuda.enable_flash_sdp(False)
        else:
            torch.backends.cuda.enable_flash_sdp(True)
        budget = next((float(o[1:]) for o in opts if o[0] == "b" and o[1:].replace(".", "").isdigit()), None)
        import torch._functorch.config as fc
        fc.activation_memory_budget = 1.0 if budget is None else budget
        m = build(a.blocks, name == "fp8", a.tiny)
        if name != "peft": fuse(m)
        if "eager" not in opts:
            for b in m.transformer_blocks: b.compile(fullgraph="full" in opts)
        if "ckpt" in opts: m.enable_gradient_checkpointing()
        run(variant, m, shapes, autocast=name == "peft", profile="noprof" not in opts)
        del m

main()
