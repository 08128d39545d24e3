"A study that is killed twice: nothing lives on, nothing is lost, and every number is the same."
import signal

from conftest import given, interrupt, metrics, one_line_a_step, record, study, trained

from edmxl.training.checkpoints import checkpoints


def test_killed_twice_it_ends_as_if_nothing_had_happened(tmp_path, request):
    "kill -9 inside the training, then while two processes draw: the same command goes on, to the very same metrics."
    out,two = tmp_path/'S',given('generate', nproc=2)
    interrupt(study(out, *two), out, lambda: trained(out, 12), signal.SIGKILL, -9)
    assert not (out/'train_diffusion'/'run.json').exists() and checkpoints(out/'train_diffusion')
    interrupt(study(out, *two), out, (out/'generate'/'dataset'/'plan.json').exists, signal.SIGKILL, -9)
    assert one_line_a_step(out) and record(out, 'train_diffusion')['resumed']
    assert not (out/'generate'/'dataset'/'dataset.json').exists()
    p = study(out, *two)
    said,_ = p.communicate()
    kept = [l.split()[1] for l in said.splitlines() if 'complete, kept' in l]
    assert p.returncode==0 and kept==['prepare:', 'train_diffusion:']
    assert metrics(out)==metrics(request.getfixturevalue('tiny_study'))
