"A network trained with some label maps hidden can be guided, by whichever solver; another one says what it lacks."
import json

from conftest import edmxl

TRAIN = ['-p', 'steps', '40', '-p', 'batch', '4', '-p', 'threads', '1', '-p', 'device', 'cpu', '-p', 'precision', 'fp32']
DRAW = ['--seeds', '0-1', '--steps', '3', '--device', 'cpu', '--precision', 'fp32']

def test_guided_from_training_to_images(tiny_study, tmp_path):
    data,maps = tiny_study/'prepare'/'dataset',tiny_study/'prepare'/'label_maps'
    code,_,err = edmxl('run', 'train_diffusion', '-p', 'data', data, '-p', 'label_dropout', '0.5', *TRAIN, '-o', tmp_path/'t')
    assert code==0, err
    model = tmp_path/'t'/'model.safetensors'
    said = {}
    for name,words in dict(plain=[], guided=['--guidance', '3'], multistep=['--solver', 'dpmpp-2m'], sde=['--solver', 'dpmpp-2m-sde'],
                           narrow=['--guidance', '6', '--guidance-interval', '1', '4']).items():
        code,_,err = edmxl('generate', '--model', model, '--labels', maps, '--out', tmp_path/name, *DRAW, *words)
        assert code==0, err
        said[name] = json.loads((tmp_path/name/'dataset.json').read_text())
    assert len({s['content_hash'] for s in said.values()})==len(said)        # each draws something else
    assert said['guided']['plan']['guidance']==3 and said['sde']['plan']['solver']=='dpmpp-2m-sde'

def test_a_network_that_always_saw_its_map_is_not_guided(tiny_study, tmp_path):
    model,maps = tiny_study/'train_diffusion'/'model.safetensors',tiny_study/'prepare'/'label_maps'
    code,_,err = edmxl('generate', '--model', model, '--labels', maps, '--out', tmp_path/'g', *DRAW, '--guidance', '2')
    assert code==2 and 'label_dropout' in err and not (tmp_path/'g').exists()
    code,_,err = edmxl('generate', '--model', model, '--labels', maps, '--out', tmp_path/'g', *DRAW, '--solver', 'rk4')
    assert code==2 and 'rk4' in err and 'heun' in err
