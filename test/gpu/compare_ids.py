"""Compares greedy ids with transformers' on the same GPU.

    python3 compare_ids.py MODEL IDS.json float32|bfloat16|float16

IDS.json holds {"prompts": [[id]], "answers": [[id]]}; all prompts have one length. In float32 the ids
must be equal. In 16 bits they must be equal up to the first place where transformers' own logits hold
our token at most two units in the last place below the best; that place is printed. Exit code 1 if not.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM


def ulp(value, dtype):
    """The distance of neighbours around a positive value."""
    bits = {torch.float32: 23, torch.bfloat16: 7, torch.float16: 10}[dtype]
    return 2.0 ** (torch.frexp(torch.tensor(abs(value)))[1].item() - 1 - bits)


def main():
    model_path, ids_path, dtype_name = sys.argv[1:4]
    dtype = getattr(torch, dtype_name)
    torch.backends.cuda.matmul.allow_tf32 = False
    with open(ids_path) as file:
        given = json.load(file)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype).cuda().eval()
    prompts = torch.tensor(given["prompts"], device="cuda")
    num_tokens = len(given["answers"][0])
    with torch.no_grad():
        output = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=False,
            max_new_tokens=num_tokens, min_new_tokens=num_tokens, return_dict_in_generate=True,
            output_logits=True, eos_token_id=None, pad_token_id=0)
    theirs = output.sequences[:, prompts.shape[1]:].tolist()
    num_equal, num_close, num_wrong = 0, 0, 0
    for row, (ours, want) in enumerate(zip(given["answers"], theirs)):
        place = next((i for i, pair in enumerate(zip(ours, want)) if pair[0] != pair[1]), None)
        if place is None:
            num_equal += 1
            continue
        logits = output.logits[place][row].float()
        best = logits[want[place]].item()
        gap = (best - logits[ours[place]].item()) / ulp(best, dtype)
        is_close = dtype != torch.float32 and gap <= 2
        num_close += is_close
        num_wrong += not is_close
        print(f"  prompt {row}: differs at token {place}: ours {ours[place]}, theirs {want[place]}, "
              f"{gap:.2f} ulps apart in theirs")
    distinct = min(len(set(answer)) for answer in theirs)
    print(f"{model_path} {dtype_name}: {num_equal} of {len(theirs)} x {num_tokens} ids equal, "
          f"{num_close} differ at a near-tie, {num_wrong} wrong; {distinct} distinct ids at least")
    sys.exit(1 if num_wrong else 0)


if __name__ == "__main__":
    main()
