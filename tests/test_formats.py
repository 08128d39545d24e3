"Data in and out as a user meets it: DICOM clips without a trace of a person, the EDMLX layout, nnU-Net, predict on mixed folders."
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from conftest import mounted
from PIL import Image

import edmxl.data.dataset as dataset
from edmxl.data.dataset import EchoDataset
from edmxl.data.dicom import MIN_FIT, find_clips, find_sector, read_clip
from edmxl.data.files import BadInput, CannotWrite, hash_file, read_png, write_png
from edmxl.data.phantom import phantom_echo, write_phantom
from edmxl.data.phantom_clip import on_screen, phantom_clip, write_dicom
from edmxl.downstream.classification import classifier, save_classifier
from edmxl.downstream.segmentation import save_segmenter, segmenter
from edmxl.workbench.command_line import main

LUMA = np.array([.299, .587, .114])
SECRET = dict(PatientName='Doe^Jane', PatientID='4711', PatientBirthDate='19440217', InstitutionName='General Hospital',
              ReferringPhysicianName='Roe^Richard', AccessionNumber='AX90210', StudyDate='20240131')
WORDS = [b'Doe', b'Jane', b'JANE', b'4711', b'19440217', b'Hospital', b'HOSPITAL', b'Roe', b'AX90210', b'20240131']

@pytest.fixture
def edmxl(capsys):
    "The command, in this process: exit code, output and errors."
    def do(*words):
        code = main([str(w) for w in words])
        return code,*capsys.readouterr()
    return do

def iou(a, b): return (a & b).sum()/(a | b).sum()

def on(sector, shape, corner):
    "The sector of a phantom at its place on the screen."
    out = np.zeros(shape, bool)
    out[corner[0]:corner[0]+len(sector),corner[1]:corner[1]+len(sector)] = sector
    return out

def everything(folder):
    "All names and bytes below a folder; pixels too, as they are when a picture is opened."
    for p in Path(folder).rglob('*'):
        if p.is_file(): yield p.name.encode() + p.read_bytes() + (np.asarray(Image.open(p)).tobytes() if p.suffix=='.png' else b'')

@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    "Untrained networks: what they say is noise, but it is the same noise each time."
    d = tmp_path_factory.mktemp('networks')
    save_segmenter(d/'s.safetensors', segmenter(), size=32, licence='MIT')
    save_classifier(d/'c.safetensors', classifier(), size=32, licence='MIT')
    return d

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('single', (False, True), ids=('clip', 'frame'))
@pytest.mark.parametrize('corner,ecg', (((40,120), 320.), ((100,150), 290.)), ids=('free', 'ECG over the sector'))
def test_sector_despite_text_ecg_bar_and_logo(seed, single, corner, ecg):
    frames,sector,_,_ = phantom_clip(seed, n=5)
    grey = np.rint(on_screen(frames, corner=corner, ecg=ecg)@LUMA).astype(np.uint8)
    mask,fit = find_sector(grey[-1:] if single else grey)
    assert fit>MIN_FIT and iou(mask, on(sector, (360,480), corner))>=.98

def test_sector_of_a_noisy_screen():
    "Compression leaves noise of a few grey levels outside the sector, new in every frame."
    frames,sector,_,_ = phantom_clip(4, n=5)
    grey = on_screen(frames)@LUMA + np.random.default_rng(0).normal(0, 1., (5,360,480))
    mask,fit = find_sector(np.rint(grey).clip(0, 255).astype(np.uint8))
    assert fit>MIN_FIT and iou(mask, on(sector, (360,480), (40,120)))>=.98

def test_compressed_clip_is_read_like_the_raw_one(tmp_path):
    frames,sector,_,mm = phantom_clip(5, n=3)
    screens = on_screen(frames)
    write_dicom(tmp_path/'raw.dcm', screens, (30,310,110,400), mm)
    ds = pydicom.dcmread(tmp_path/'raw.dcm')
    ds.compress(pydicom.uid.RLELossless)
    ds.save_as(tmp_path/'rle.dcm')
    a,b = (read_clip(tmp_path/n) for n in ('raw.dcm','rle.dcm'))
    assert (a.frames==b.frames).all() and a[1:]==b[1:]
    assert a.spacing==pytest.approx((mm, mm))
    ds = pydicom.dcmread(tmp_path/'rle.dcm')
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1      # a compression that this machine may not decode, or a lie
    ds.save_as(tmp_path/'other.dcm')
    with pytest.raises(BadInput, match='cannot be decoded'): read_clip(tmp_path/'other.dcm')

def test_real_clip_of_pydicom(tmp_path):
    "The sector of a real clip fades towards its flanks; on its screen it reaches from column 40 to 300 of 320 and down to row 205 of 240."
    ds = pydicom.dcmread(pydicom.data.get_testdata_file('examples_ybr_color.dcm'))
    ds.PatientIdentityRemoved = 'YES'
    ds.save_as(tmp_path/'real.dcm')
    c = read_clip(tmp_path/'real.dcm')
    top,bottom,left,right = c.box
    assert c.fit>.9 and top<=22 and 195<=bottom<=210 and 35<=left<=50 and 290<=right<=305
    assert c.spacing is None and any('does not fit' in n for n in c.notes)
    assert (ds.pixel_array@LUMA)[:,:15,:35].max()>150       # a word stands there, and is outside what is kept
    assert top>=15

def test_who_is_not_deidentified_is_refused_and_never_named(tmp_path, networks, edmxl):
    frames = phantom_clip(1, size=128, n=3)[0]
    write_dicom(tmp_path/'in'/'train'/'x.dcm', on_screen(frames, (300,400)), PatientIdentityRemoved='NO', **SECRET)
    models = ('--segmenter', networks/'s.safetensors', '--classifier', networks/'c.safetensors')
    ask = 'predict','--model',networks/'s.safetensors','--images',tmp_path/'in'
    for words in (('prepare','dicom','--src',tmp_path/'in',*models), ask):
        code,out,err = edmxl(*words, '--out', tmp_path/'new')
        assert code==2 and 'not de-identified' in err and err.count('\n')==1
        assert not [w for w in WORDS if w.decode() in out+err]
    assert not (tmp_path/'new').exists()

def test_no_value_of_a_person_in_any_byte(tmp_path, networks, edmxl):
    "A file may say that it is de-identified and hold names nevertheless, in its elements and burnt into its frames."
    for k in (1,2):
        for v in ('2CH','4CH'):
            frames = phantom_clip(k, v, 128, 4)[0]
            write_dicom(tmp_path/'in'/('train','val')[k-1]/f'{v}{k}.dcm', on_screen(frames, (300,400)), (0,299,0,399), .5,
                        **SECRET | dict(PatientID=f'4711{k}'), BurnedInAnnotation='YES')
    s,c = networks/'s.safetensors',networks/'c.safetensors'
    code,out,err = edmxl('prepare', 'dicom', '--src', tmp_path/'in', '--segmenter', s, '--classifier', c, '--size', 32,
                         '--out', tmp_path/'ds')
    assert code==0 and 'burnt-in text' in err, err
    code,out2,err2 = edmxl('predict', '--model', s, '--images', tmp_path/'in', '--out', tmp_path/'maps')
    assert code==0 and '16 images of 4 files' in out2, err2
    for data in [*everything(tmp_path/'ds'), *everything(tmp_path/'maps'), (out+err+out2+err2).encode()]:
        assert not [w for w in WORDS if w in data]
    ds = EchoDataset(tmp_path/'ds')
    assert {(r.patient, r.split) for r in ds.rows}=={('dicom0001','train'), ('dicom0002','val')}
    assert ds.meta['labels']=='predicted' and ds.meta['labelled_by']['segmenter']['hash']==hash_file(s)
    assert ds.meta['labelled_by']['classifier']['hash']==hash_file(c)
    assert all(((e.image>0)==(e.sector>0)).all() for e in ds)
    ds.verify()
    for p in (tmp_path/'maps'/'overlays').rglob('*.png'):    # cropped to the sector: the corner with the name is not there
        assert Image.open(p).size<(200,200)

def test_one_patient_in_two_splits_is_refused(tmp_path, networks, edmxl):
    for s in ('train','val'):
        write_dicom(tmp_path/'in'/s/'a.dcm', on_screen(phantom_clip(1, size=128, n=3)[0], (300,400)), PatientID='case 12')
    code,_,err = edmxl('prepare', 'dicom', '--src', tmp_path/'in', '--segmenter', networks/'s.safetensors', '--classifier',
                       networks/'c.safetensors', '--out', tmp_path/'new')
    assert code==2 and 'are of one patient' in err and not (tmp_path/'new').exists()

def test_headers_are_checked_before_any_pixel(tmp_path):
    write_dicom(tmp_path/'a.dcm', np.zeros((2,20,20), np.uint8))               # would fail later: it holds no sector
    write_dicom(tmp_path/'b.dcm', np.zeros((2,20,20), np.uint8), PatientIdentityRemoved='NO', PatientName='Doe')
    with pytest.raises(BadInput, match='b.dcm is not de-identified'): find_clips(tmp_path)

def test_edmlx_layout_from_the_command_line(tmp_path, edmxl):
    for k,s in enumerate(('training','validation','testing')):
        e = phantom_echo(k, '4CH', 'ED', 48)
        for d,a in (('images',e.image), ('annotations',e.anatomy), ('sector_annotations',e.sector)):
            write_png(tmp_path/'src'/d/s/f'ED_4CH_p{k}.png', a)
    code,out,err = edmxl('prepare', 'edmlx', '--src', tmp_path/'src', '--size', 48, '--out', tmp_path/'ds')
    assert code==0 and '1 train, 1 val, 1 test' in out, err
    for k,e in enumerate(EchoDataset(tmp_path/'ds')):
        want = phantom_echo(k, '4CH', 'ED', 48)
        assert e.row.name==f'p{k}_4CH_ED' and all((a==b).all() for a,b in zip(e[1:], want[1:], strict=True))
    (tmp_path/'src'/'annotations'/'testing'/'ED_4CH_p2.png').rename(tmp_path/'src'/'annotations'/'testing'/'ED_4CH_p9.png')
    code,_,err = edmxl('prepare', 'edmlx', '--src', tmp_path/'src', '--out', tmp_path/'new')
    assert code==2 and 'ED_4CH_p2.png' in err and err.count('\n')==1 and not (tmp_path/'new').exists()

def test_nnunet_layout_from_the_command_line(tmp_path, edmxl):
    ds = write_phantom(tmp_path/'real', 32, (2,1,1), 3, 1, progress=False)
    code,out,err = edmxl('export', 'nnunet', '--data', ds.folder, '--out', tmp_path/'raw', '--id', '042', '--name', 'Phantom')
    assert code==0 and 'splits_final.json' in out, err
    folder = tmp_path/'raw'/'Dataset042_Phantom'
    about,splits = (json.loads((folder/n).read_text()) for n in ('dataset.json','splits_final.json'))
    assert about['channel_names']=={'0':'ultrasound'} and about['file_ending']=='.png' and about['numTraining']==12
    assert about['labels']['background']==0 and sorted(about['labels'].values())==[0,1,2,3]
    split = {n: s for s in ('train','val') for n in splits[0][s]}
    for e in ds:
        end = 'Ts' if e.row.split=='test' else 'Tr'
        assert split.get(e.row.name, 'test')==e.row.split
        assert (np.asarray(Image.open(folder/f'images{end}'/f'{e.row.name}_0000.png'))==e.image).all()
        assert (np.asarray(Image.open(folder/f'labels{end}'/f'{e.row.name}.png'))==e.anatomy).all()
    assert len(list((folder/'imagesTr').iterdir()))==12 and len(list((folder/'imagesTs').iterdir()))==4

def test_predict_a_mixed_folder_from_the_command_line(tmp_path, networks, edmxl):
    src = tmp_path/'in'
    e = phantom_echo(3, '2CH', 'ES', 64)
    write_png(src/'a.png', e.image); write_png(src/'a_gt.png', e.anatomy)
    frames,_,anatomy,mm = phantom_clip(3, '2CH', 64, 3)
    affine = np.array([[.4,0,0,7], [0,.4,0,-3], [0,0,2,0], [0,0,0,1.]])
    for n,a in (('b',frames), ('b_gt',anatomy)):
        nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(a.transpose(2,1,0)), affine), src/f'{n}.nii.gz')
    write_dicom(src/'c.dcm', on_screen(phantom_clip(3, '2CH', 128, 3)[0], (300,400)), (0,299,0,399), mm)
    code,out,err = edmxl('predict', '--model', networks/'s.safetensors', '--images', src, '--out', tmp_path/'out')
    assert code==0 and '7 images of 3 files' in out and 'undistorted in mm' in out and 'PNG taken to be square' in out, err
    t = pd.read_csv(tmp_path/'out'/'scores.csv')
    assert t.name.tolist()==['a']+['b']*3+['c']*3 and t.dice_mean.notna().tolist()==[True]*4+[False]*3
    assert t.area_unit.tolist()==['px']+['mm2']*6
    found = read_png(tmp_path/'out'/'masks'/'a.png')
    assert t.area_la[0]==(found==3).sum()
    both = ((found==1) & (e.anatomy==1)).sum()
    assert t.dice_lv_endo[0]==pytest.approx(2*both/((found==1).sum() + (e.anatomy==1).sum()), abs=1e-4)
    mask = nibabel.load(tmp_path/'out'/'masks'/'b.nii.gz')
    assert mask.shape==(64,64,3) and (mask.affine==affine.astype(np.float32)).all()
    assert t.area_lv_endo[2]==pytest.approx((np.asarray(mask.dataobj)[...,1]==1).sum()*.16, rel=1e-4)
    assert {p.name for p in (tmp_path/'out').iterdir()}=={'masks','overlays','overlay.png','scores.csv','predict.json'}
    code,out,err = edmxl('predict', '--model', networks/'c.safetensors', '--images', src, '--out', tmp_path/'views')
    assert code==0 and set(pd.read_csv(tmp_path/'views'/'scores.csv').view)<={'2CH','4CH'}, err
    (src/'b_gt.nii.gz').unlink(); write_png(src/'b_gt.png', e.anatomy)           # one label map for three frames
    code,_,err = edmxl('predict', '--model', networks/'s.safetensors', '--images', src, '--out', tmp_path/'new')
    assert code==2 and 'expected one size' in err and not (tmp_path/'new').exists()

def test_dataset_in_a_read_only_folder_is_read_into_memory(tmp_path, monkeypatch):
    ds = write_phantom(tmp_path/'ds', 16, (2,1,1), 0, 1, progress=False)
    def refuse(path): raise CannotWrite(f'cannot write {path}: the file system is read-only.')
    with monkeypatch.context() as m:
        m.setattr(dataset, 'whole_file', refuse)
        memory = EchoDataset(ds.folder).arrays()
    assert not (ds.folder/'.cache').exists() and not any(a.flags.writeable for a in memory)
    for a,b in zip(memory, EchoDataset(ds.folder).arrays(), strict=True): assert isinstance(b, np.memmap) and (a==b).all()

def test_dataset_on_a_read_only_file_system(tmp_path):
    with mounted(tmp_path/'disk', 'size=20m') as remount:
        if remount is None: pytest.skip('this user may not mount a file system')
        ds = write_phantom(tmp_path/'disk'/'ds', 16, (2,1,1), 0, 1, progress=False)
        assert remount('ro') and not os.access(ds.folder, os.W_OK)
        assert EchoDataset(ds.folder).arrays().images.shape==(16,16,16)
