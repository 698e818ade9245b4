"""What training and evaluation see of an image, the same for every engine.

``crop`` makes the crop and its boxes of an image, ``image_cache`` and ``fill_cache`` keep resized
images, ``selection`` lists the images of a run, ``bad_images`` decides on images that cannot be
read, ``check`` looks for them. May import ``datasets``, ``images`` and what is below them; no
engine and no configuration.

One more augmentation is a case of ``crop.CropMapper.draw_frame``, so that the frame maps its boxes
back.
"""
